"""The battery health report: from a file or a store to PDF and HTML, in two languages."""
