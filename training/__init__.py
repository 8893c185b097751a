"""The models: trained, judged and written with their cards."""
