"""What the readers of recordings say, by id, in English."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ENGLISH: Final[Mapping[str, str]] = {
    # Places
    "at.sheet": "sheet {sheet}",
    "at.column": "column {column}",
    "at.columns": "columns {column}",
    "at.dataset": "dataset {dataset!r}",
    "at.operation": "operation {operation}",
    "at.operation_kind": "operation {operation} ({kind})",
    "at.operation_cycle": "operation {operation} ({kind} of cycle {cycle})",
    "at.operation_from_row": "operation {operation} ({kind} of cycle {cycle}, row {first_row})",
    "at.operation_record": "operation {operation} (record {record}, {kind})",
    "at.impedance": "record {record} (impedance)",
    "at.row": "row {row}",
    "at.line": "line {row}",
    "at.after_row": "after row {row}",
    "at.after_record": "after record {record}",
    "kind.charge": "charge",
    "kind.discharge": "discharge",
    "kind.rest": "rest",
    "kind.mixed": "mixed",
    "and_more": "{names} and {more:,} more",
    # What another library or the operating system says, as it says it
    "passed_on": "{reason}",
    "damaged": "damaged: {reason}",
    # Nothing to read
    "formats": (
        "nasa (NASA PCoE .mat (MATLAB level 5), a folder or a zip of them); calce (CALCE Arbin "
        ".xlsx workbooks: a folder, a zip or one workbook); bundle (Cellpulse's own Parquet "
        "recording); tidy (tidy Parquet of published cells (cell_id, cycle, step, time_s, "
        "...)); bdf (Battery Data Format, CSV or Parquet (.bdf, .bdf.csv, .bdf.parquet)); "
        "generic (CSV, Parquet or HDF5 with a column mapping in a .toml file beside it)"
    ),
    "nothing.there": "no such file or folder",
    "nothing.empty": "the file is empty",
    "nothing.known": "not a known recording; formats read: {formats}",
    "nothing.format": "unknown format {found!r}; formats read: {formats}",
    "nothing.in_folder": "no recording in this folder; formats read: {formats}",
    "nothing.matlab_7_3": "a MATLAB 7.3 file; save it as level 5 (-v7)",
    "nothing.mat": "no readable NASA .mat file in it",
    "nothing.mat_or_xlsx": "neither a NASA .mat nor an Arbin .xlsx workbook in it",
    "nothing.text": "neither a known recording nor text in UTF-8, UTF-16 or GB 18030",
    "nothing.operations": "no operation could be read",
    "nothing.nasa_cell": (
        "a NASA cell that is not on this machine; `cellpulse data fetch nasa`, or name the "
        "folder that has it in CELLPULSE_DATA"
    ),
    "nothing.named": "no such file, and no battery of this name in {folders}",
    "nothing.named_near": "no such file, and no battery of this name in {folders}; near: {near}",
    # More than is read
    "limit.cells": "{found:,} cells; a pack has at most {most:,}",
    "limit.sensors": "{found:,} sensors; a pack has at most {most:,}",
    "limit.text": "{key} has {found:,} characters; at most {most:,} are read",
    "limit.name": "a column's name of {found:,} characters; at most {most:,} are read",
    "limit.bytes": "{found:,} bytes; at most {most:,} are read",
    "limit.rows": "{found:,} rows; at most {most:,} are read",
    "limit.operation_rows": "{found:,} rows; at most {most:,} of one charge or discharge are read",
    "limit.run": "more than {most:,} rows of one {column}",
    "limit.columns": "more than {most:,} columns",
    "limit.row_values": (
        "column {column!r} claims {found:,} values in {rows:,} rows; at most {most:,} a row "
        "are read"
    ),
    # What a recording says of itself
    "info.asset": (
        "asset {found!r} is no name; up to 64 letters, digits, '.', '_' and '-', a letter or "
        "digit first"
    ),
    "info.whole_number": "{key} is {found!r}, not a whole number from {least} on",
    "info.range": "{key} is {found!r}, not a number over {low:g} and up to {high:g}",
    "info.field": "unknown field {found!r} in [info]; known: {expected}",
    "info.type": "{key} is {found!r}, which is not {expected}",
    "info.no_capacity": (
        "the nominal capacity is not known; say it in {stem}.toml: [info] nominal_capacity_ah "
        "= 2.0, with --nominal, or in the field on the page"
    ),
    # Samples
    "samples.shape_one": "{name} has the shape {found}; one value a row belongs there",
    "samples.shape_list": "{name} has the shape {found}; a list of values a row belongs there",
    "samples.lengths": "{expected} times but {found} {name} values",
    "samples.width": "{found:,} values of {name} a row where the first row has {expected:,}",
    "samples.time_not_a_number": "the time is not a number",
    "samples.time_impossible": (
        "a time of {found:g} s cannot be; it is counted in seconds from the start"
    ),
    "samples.time_backwards": "time runs backwards, from {before:g} s to {found:g} s",
    "samples.start_impossible": "a start {found:g} ms from 1970 cannot be",
    "samples.no_date": "no date and time",
    "samples.no_measurement": "no row with a measurement",
    # Tables of any kind
    "table.no_rows": "no rows",
    "table.no_header": "no header row",
    "table.no_column": "no column {column}",
    "table.two_columns": "two columns of one name",
    "table.lists": "column {column!r} holds lists; one value a row belongs there",
    "table.lists_of_lists": (
        "column {column!r} holds lists of lists; a list of numbers belongs there"
    ),
    "table.not_a_number": "{column} is {found!r}, not a number",
    "table.not_a_duration": "column {column!r} has {found!r}, not hours:minutes:seconds",
    "table.not_numbers": "column {column!r} is not numbers: {reason}",
    "csv.column": "column {column!r}: {reason}",
    "csv.long_line": "a line of over 1 MB",
    "csv.not_a_number": "CSV conversion error to double: invalid value {found}",
    "csv.not_a_value": "CSV conversion error to {expected}: invalid value {found}",
    "csv.row_width": (
        "CSV parse error: Row #{line}: Expected {expected} columns, got {found}: {text}"
    ),
    "text.damaged": "not a readable text: {reason}",
    # Column mappings
    "mapping.damaged": "not a readable mapping: {reason}",
    "mapping.no_table": "[{key}] of its mapping is {found!r}, not a table of keys and values",
    "mapping.section": "unknown section [{found}] in its mapping",
    "mapping.unknown_columns": (
        "the columns are not known: {found}. Name them such as `time_s` (or `timestamp`), "
        "`voltage_v`, `current_a` and `temperature_c`, or write {stem}.toml beside it with "
        "[info] nominal_capacity_ah and [columns]"
    ),
    "mapping.column": "unknown column {found!r}; known: {expected}",
    "mapping.needs": "the mapping needs `voltage`, and `time` or `clock`",
    "mapping.lists": "column {column!r} for `{key}` holds lists; one value a row belongs there",
    "mapping.one_column": "`{key}` takes one column, not {found}",
    "mapping.no_column": "no column {column!r} for `{key}`; its columns are {found}",
    "mapping.unit": "unknown unit {found!r} for `{key}`; known: {expected}",
    "mapping.clock_unit": "column {column!r} is numbers; say [units] clock as unix_s or unix_ms",
    "mapping.option": "unknown option {found!r}; known: {expected}",
    "mapping.sign": "positive_current is {found!r}; it is `charges` or `discharges`",
    "mapping.start": "start is {found!r}, not a date and time",
    "mapping.start_impossible": "start is {found}, which cannot be",
    "mapping.character": "{key} is {found!r}, not one character",
    "mapping.skip_rows": "skip_rows is {found!r}, not a number of rows",
    # Zips
    "zip.damaged": "not a readable zip: {reason}",
    "zip.no_member": "no member named",
    "zip.files": "more than {most:,} files in the zip",
    "zip.member": "{found:,.0f} MiB when inflated; at most {most} MiB are read",
    "zip.repeated": (
        "to read each of its files, more than {most} GiB would be inflated; unpack it first"
    ),
    "zip.depth": "zips inside zips, more than {most} deep",
    "zip.inner_zips": "the zips in it are more than {most:,} MiB when inflated",
    # Workbooks
    "workbook.damaged": "not a readable workbook: {reason}",
    "workbook.not_xlsx": "not an .xlsx workbook",
    "workbook.two_parts": "two parts of one name in the workbook",
    "workbook.parts": "more than {most:,} parts in the workbook",
    "workbook.sheets": "its sheets are {found:,.0f} MiB when inflated; at most {most} MiB are read",
    "workbook.far_cells": (
        "cells up to row {rows:,} and column {columns:,}; a sheet of {bytes:,} bytes has at "
        "most {most:,} places"
    ),
    "workbook.no_channel": "no sheet named Channel...; found {found}",
    "workbook.first_date": "the first Date_Time is {found!r}, not a date and time",
    "workbook.impossible": "a {column} that cannot be",
    "workbook.cycle_backwards": "Cycle_Index runs backwards",
    "workbook.overlaps": "begins before the workbook before it ends",
    # Parquet, our own recordings and the tidy form
    "parquet.damaged": "not a readable Parquet file: {reason}",
    "parquet.pickle": "its metadata hold a pickled Python object; save the table as plain columns",
    "parquet.no_date": "a date is missing",
    "parquet.rows": "{expected} rows announced, {found} found",
    "bundle.none": "not a Cellpulse recording (no {key})",
    "bundle.version": "recording version {found}, this program reads {expected}",
    "bundle.metadata": "damaged recording metadata: {reason}",
    "bundle.two_of_name": "two recordings named {asset}",
    "bundle.fewer_rows": "fewer rows than announced",
    "bundle.no_row_group": "no row group {number}",
    "bundle.row_group": "row group {number} has {found:,} values; at most {most:,}",
    "bundle.type": "column {column!r} is {found}, not {expected}",
    "bundle.values": "{found} values where {rows} x {width} belong",
    "tidy.no_column": "not a tidy recording: no column {column}",
    "tidy.another_cell": "rows of {found} among {expected}'s",
    "tidy.timestamp": "a timestamp is not a date and time",
    # HDF5
    "hdf5.no_h5py": "HDF5 needs h5py: pip install 'cellpulse[data]'",
    "hdf5.not_readable": "not a readable HDF5 file: {reason}",
    "hdf5.damaged": "damaged HDF5 file: {reason}",
    "hdf5.outside": (
        "dataset {dataset!r} keeps its values in another file; only values in the file itself "
        "are read"
    ),
    "hdf5.lengths": "datasets of different length: {found}",
    "hdf5.not_numbers": "its values are {found}, not numbers",
    "hdf5.row_bytes": "{found:,} bytes a row cannot be",
    "hdf5.chunk": "chunks of {found:,} bytes; at most {most:,} are read",
    "hdf5.not_there": "{rows:,} rows claimed and {stored:,} bytes stored: most of it is not there",
    # MATLAB level 5
    "mat.too_short": "too short for a MAT file",
    "mat.version": "MAT version {found:#06x}, only level 5 (0x0100) is read",
    "mat.file_ends": "the file ends too early",
    "mat.data_end": "the compressed data end too early",
    "mat.data_damaged": "the compressed data are damaged ({reason})",
    "mat.claims": "an element claims {found:,} bytes; at most {most:,}",
    "mat.element": "an element of {found:,} bytes where at most {most:,} belong",
    "mat.elements": "field {field!r} has {found:,} elements; at most {most:,} are read",
    "mat.fields": "the fields of an element take more than {most:,} bytes",
    "mat.name_length": "field names of {found} bytes; 1 to {most} belong there",
    "mat.numbers": "{expected} numbers announced, {found} bytes found",
    "mat.no_mark": "no MAT level 5 mark in its head",
    "mat.element_type": "unknown element type {found}",
    "mat.compressed_type": "unknown compressed element type {found}",
    "mat.small_element": "a small element with more than 4 bytes",
    "mat.past_end": "an element reaches past the end of what holds it",
    "mat.flags_expected": "array flags expected",
    "mat.dimensions_expected": "array dimensions expected",
    "mat.negative_dimension": "a negative array dimension",
    "mat.name_expected": "array name expected",
    "mat.name_length_expected": "field name length expected",
    "mat.names_misfit": "field names do not fit their length",
    "mat.numbers_expected": "numbers expected",
    "mat.real_expected": "real numbers expected, found complex ones",
    "mat.text_expected": "text expected",
    "mat.struct_expected": "struct expected",
    "mat.text_type": "text stored as data type {found}",
    "mat.number_type": "numbers stored as data type {found}",
    "mat.no_field": "no field {field!r}",
    "mat.no_variable": "no variable with a field {field!r}",
    "mat.not_a_matrix": "field {field!r} is not a matrix",
    "mat.not_a_matrix_but": "field {field!r} is not a matrix (data type {found})",
    "mat.not_a_struct_array": "field {field!r} is not a struct array",
    "nasa.not_one": "not a NASA battery .mat file: {reason}",
    "nasa.no_operations": "no operations in it",
    "nasa.no_type_or_data": "no `type` or no `data`",
    "nasa.no_field": "no `{field}`",
    "nasa.unknown_type": "an operation of unknown type {found!r}",
    "nasa.no_date": "{found} is not a date and time",
    # Downloads
    "fetch.unknown": "{dataset} has no {found!r}; it has {expected}",
    "fetch.no_record": "no record of its download beside it",
    "fetch.record_damaged": "not a readable record: {reason}",
    "fetch.changed": (
        "its SHA-256 is {found}, it was {expected} when it was fetched on {fetched}; delete "
        "the file and fetch it again"
    ),
    "fetch.other_hash": "its SHA-256 is {found}, not {expected}",
    "fetch.cut": "{reason}; {kept} bytes are kept, fetch again to go on",
    "fetch.http": "HTTP {code} {reason}",
    "fetch.connection_cut": "the connection was cut",
    "fetch.more_bytes": "more bytes came than the {expected} announced",
    "fetch.bytes": "{found} bytes, {expected} were expected",
    "fetch.not_a_zip": "not a zip; the publisher may have moved it",
    "fetch.no_mat": "no .mat file in it",
    # Plots
    "plot.panel": "unknown panel {found!r}; known: {expected}",
    "plot.suffix": "a plot is written as {expected}",
    # What was found in one operation
    "note.no_capacity": "no capacity was published",
    "note.capacity_no_measurement": (
        "published capacity {published_ah:.4g} Ah is no measurement, left out"
    ),
    "note.capacity_impossible": "published capacity {published_ah:.4g} Ah is impossible, left out",
    "note.cut_short": (
        "discharge cut short at {lowest_v:.2f} V after {moved_ah:.3f} Ah: no capacity"
    ),
    "note.empty_row": "{found} row without any measurement left out",
    "note.empty_rows": "{found} rows without any measurement left out",
    "note.no_reading": "{found} number that no instrument reads left out",
    "note.no_readings": "{found} numbers that no instrument reads left out",
    "note.synthetic_fault": "holds a synthetic fault: {fault}",
    # What is known of a whole recording
    "problem.columns_by_name": "columns told by their names: {columns}; positive current charges",
    "problem_column": "{column!r} is {quantity}",
    "problem.no_unit": "column {column!r} states no unit: {unit} is assumed",
    "problem.no_date": "no date was recorded: it is laid at 1970-01-01",
    "problem.no_clock": (
        "no date was recorded: operations are laid an hour apart from 1970-01-01 on"
    ),
    "problem.no_temperature": "no temperature was recorded",
    "problem.no_current": "no current was recorded",
    "problem.no_capacity": "no capacity is stated; 1 Ah is assumed",
    "problem.discharges_only": "discharges only: the charges between them were not published",
    "problem.same_workbook": "{left_out} holds the same data as {kept}: left out",
    "problem.shorter_workbook": "{left_out} starts with, and is shorter than, {kept}: left out",
    "problem.injected": "synthetic: injected with {faults}",
    "problem.rebuilt": "rebuilt from CSV, not the publisher's own bytes",
    "problem.nasa_integral": (
        "published capacity is the charge drawn until the first loaded sample below 2.7 V, "
        "whatever the real cut-off"
    ),
    "problem.nasa_false_start": (
        "the second sample of most charges shows a false current of -4.5 to -2.3 A"
    ),
    "problem.nasa_square_wave": (
        "discharged with a 20 s square wave (0.05 Hz, half duty) sampled every 10 s: samples "
        "alternate between none and full current"
    ),
    "problem.nasa_hot": "passes 60 C in normal use",
    "problem.nasa_idle": "55 % of its discharge rows are idle, after the cut-off",
    "problem.nasa_low": "many discharges give less than 0.5 Ah; the publisher does not say why",
    "problem.nasa_impossible": (
        "some published capacities are impossible (2.3 to 2.6 Ah) and are left out"
    ),
    "problem.nasa_impedance_ambient": (
        "its impedance records say 24 C ambient though the chamber was at 4 C"
    ),
    "problem.nasa_spike": "{spike_v} V spike in operation 84; its last operation is 5 false rows",
    "problem.nasa_at_2_a": "ran at 2 A though the publisher's notes say 4 A",
    "problem.nasa_dip": "one 0.99 V sample in operation 358",
    "problem.nasa_open_circuit": "goes open-circuit now and then; 4 capacities are missing",
    "problem.nasa_dead": "reads 0.3 V from operation 10 on; 21 capacities are missing",
    "problem.nasa_unknown": "not one of the publisher's 34 cells",
}
