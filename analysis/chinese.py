"""What the readers of recordings say, in Chinese, for the page.

The readers know one language. Their sentences are told by their fixed words and said again; names,
numbers and what another library reports stay as they are. A test holds that every sentence in
`recordings` is known here.
"""

from __future__ import annotations

import re

_SAID: tuple[tuple[str, str], ...] = (
    # The file as a whole
    (r"the file is empty", "文件为空"),
    (r"not a known recording; formats read: .*",
     "不是可识别的记录文件；可读格式：NASA .mat（MATLAB 5 级）或其 zip、"
     "CALCE Arbin .xlsx 或其 zip、Parquet、BDF、列名清楚的 CSV、HDF5"),
    (r"not a known recording; .*", "不是可识别的记录文件"),
    (r"no such file or folder", "没有这个文件或文件夹"),
    (r"unknown format (.+?); .*", r"未知格式 \1"),
    (r"no recording in this folder; .*", "文件夹中没有记录文件"),
    (r"a MATLAB 7\.3 file; save it as level 5 \(-v7\)",
     "这是 MATLAB 7.3 文件，请另存为 -v7（5 级）"),
    (r"no readable NASA \.mat file in it", "其中没有可读的 NASA .mat 文件"),
    (r"neither a NASA \.mat nor an Arbin \.xlsx workbook in it",
     "其中既没有 NASA .mat，也没有 Arbin .xlsx 工作簿"),
    (r"neither a known recording nor text in UTF-8, UTF-16 or GB 18030",
     "既不是可识别的记录文件，也不是 UTF-8、UTF-16 或 GB 18030 文本"),
    (r"more memory is needed than an analysis may take, or damaged",
     "所需内存超过限度，或文件已损坏"),
    (r"more memory is needed than an analysis may take", "所需内存超过限度"),
    (r"([\d,]+|\S+) rows; at most ([\d,]+|\S+) samples are analysed",
     r"共 \1 行；最多分析 \2 个采样"),
    (r"(\S+) rows; at most (\S+) of one charge or discharge are read",
     r"共 \1 行；一次充电或放电最多读取 \2 行"),
    (r"(\S+) rows; at most (\S+) are read", r"共 \1 行；最多读取 \2 行"),
    (r"more than (\S+) rows of one (\S+)", r"同一个 \2 的数据超过 \1 行"),
    (r"more than ([\d,]+|\S+) samples; analyse a part of it",
     r"超过 \1 个采样；请只分析其中一部分"),
    (r"it took longer than (\S+) minutes", r"分析超过 \1 分钟"),
    (r"the file holds no samples", "文件中没有采样数据"),
    (r"the analysis did not start", "分析未能启动"),
    (r"(\S+) batteries in the file: the first (\S+) were analysed; left out: ",
     r"文件中有 \1 个电池，只分析了前 \2 个；未分析："),
    (r" and others\b", " 等"),
    # Zips
    (r"not a readable zip: ", "zip 无法读取："),
    (r"its sheets are (\S+) MiB when inflated; at most (\S+) MiB are read",
     r"其中的工作表解压后为 \1 MiB；最多读取 \2 MiB"),
    (r"(\S+) MiB when inflated; at most (\S+) MiB are read",
     r"解压后为 \1 MiB；最多读取 \2 MiB"),
    (r"to read each of its files, more than (\S+) GiB would be inflated; unpack it first",
     r"逐个读取其中的文件共需解压超过 \1 GiB；请先将其解压"),
    (r"more than ([\d,]+|\S+) files in the zip", r"zip 中的文件超过 \1 个"),
    (r"zips inside zips, more than (\S+) deep", r"zip 嵌套超过 \1 层"),
    (r"the zips in it are more than ([\d,]+|\S+) MiB when inflated",
     r"其中的 zip 解压后超过 \1 MiB"),
    (r"no member named", "没有指明其中的文件"),
    (r"damaged recording metadata: ", "记录的元数据已损坏："),
    (r"damaged HDF5 file: ", "HDF5 文件已损坏："),
    (r"\bdamaged: ", "已损坏："),
    # Workbooks
    (r"not a readable workbook: ", "工作簿无法读取："),
    (r"not an \.xlsx workbook", "不是 .xlsx 工作簿"),
    (r"two parts of one name in the workbook", "工作簿中有两个同名部件"),
    (r"more than (\S+) parts in the workbook", r"工作簿中的部件超过 \1 个"),
    (r"cells up to row (\S+) and column (\S+); a sheet of (\S+) bytes has at most (\S+) places",
     r"单元格延伸到第 \1 行、第 \2 列；\3 字节的工作表最多有 \4 个单元格"),
    (r"no sheet named Channel\.\.\.; found (.*)", r"没有名为 Channel… 的工作表；现有：\1"),
    (r"the first Date_Time is (.+), not a date and time", r"第一个 Date_Time 是 \1，不是日期时间"),
    (r"a (Cycle_Index|Test_Time\(s\)) that cannot be", r"\1 的值不可能"),
    (r"Cycle_Index runs backwards", "Cycle_Index 倒退"),
    (r"begins before the workbook before it ends", "开始时间早于前一个工作簿的结束时间"),
    (r"(\S+) holds the same data as (\S+): left out", r"\1 与 \2 数据相同：已略去"),
    (r"(\S+) starts with, and is shorter than, (\S+): left out",
     r"\1 与 \2 同时开始但较短：已略去"),
    # Tables
    (r"the columns are not known: (.*)\. Name them such as `time_s` \(or `timestamp`\), "
     r"`voltage_v`, `current_a` and `temperature_c`, or write (.+?)\.toml .*",
     r"无法识别各列：\1。请把列命名为 time_s（或 timestamp）、voltage_v、current_a、temperature_c，"
     r"或“测试时间(s)”“电压(V)”“电流(A)”“温度(℃)”；也可在旁边放 \2.toml 说明"),
    (r"the nominal capacity is not known; say it in .*",
     "额定容量未知：请在页面的输入框中填写（Ah）"),
    (r"columns told by their names: (.*); positive current charges",
     r"按列名识别：\1；电流为正表示充电"),
    (r"no date was recorded: it is laid at 1970-01-01", "没有记录日期：从 1970-01-01 起排列"),
    (r"no date was recorded: operations are laid an hour apart from 1970-01-01 on",
     "没有记录日期：各段从 1970-01-01 起每隔一小时排列"),
    (r"column (.+) states no unit: (\S+) is assumed", r"列 \1 没有单位：按 \2 处理"),
    (r"column (.+) has (.+), not hours:minutes:seconds", r"列 \1 的值 \2 不是 时:分:秒"),
    (r"column (.+) is numbers; say \[units\] clock as unix_s or unix_ms",
     r"列 \1 是数字：请在 [units] 中说明 clock 为 unix_s 或 unix_ms"),
    (r"column (.+) for `(.+)` holds lists; one value a row belongs there",
     r"用于 `\2` 的列 \1 存放的是列表；每行应为一个值"),
    (r"column (.+) holds lists; one value a row belongs there",
     r"列 \1 存放的是列表；每行应为一个值"),
    (r"column (.+) holds lists of lists; a list of numbers belongs there",
     r"列 \1 存放的是嵌套列表；应为数字列表"),
    (r"column (.+) claims (\S+) values in (\S+) rows; at most (\S+) a row are read",
     r"列 \1 声明在 \3 行中有 \2 个值；每行最多读取 \4 个"),
    (r"a column's name of (\S+) characters; at most (\S+) are read",
     r"有一个列名长 \1 个字符；最多读取 \2 个字符"),
    (r"two columns of one name", "有两列同名"),
    (r"(\S+) values of (\S+) a row where the first row has (\S+)",
     r"每行有 \1 个 \2 值，而第一行有 \3 个"),
    (r"column (.+) is not numbers: ", r"列 \1 不是数字："),
    (r"not a tidy recording: ", "不是整理格式的记录："),
    (r"\bno column (.+) for `(.+)`; its columns are (.*)", r"没有用于 `\2` 的列 \1；现有列：\3"),
    (r"\bno column ", "缺少列 "),
    (r"no header row", "没有标题行"),
    (r"more than ([\d,]+|\S+) columns", r"超过 \1 列"),
    (r"a line of over 1 MB", "有一行超过 1 MB"),
    (r"CSV conversion error to (\w+): invalid value (.*)", r"不是数字：\2"),
    (r"CSV parse error: Row #(\d+): Expected (\d+) columns, got (\d+): ",
     r"第 \1 行应有 \2 列，实有 \3 列："),
    (r"datasets of different length: ", "各数据集长度不同："),
    (r"dataset (.+) keeps its values in another file; only values in the file itself are read",
     r"数据集 \1 的数值存放在另一个文件中；只读取本文件内的数值"),
    (r"its values are (.+), not numbers", r"其中的值是 \1 类型，不是数字"),
    (r"(\S+) bytes a row cannot be", r"每行 \1 字节，不可能"),
    (r"chunks of (\S+) bytes; at most (\S+) are read", r"每个数据块为 \1 字节；最多读取 \2 字节"),
    (r"(\S+) rows claimed and (\S+) bytes stored: most of it is not there",
     r"声明有 \1 行，只存有 \2 字节：大部分数据不存在"),
    (r"HDF5 needs h5py: .*", "读取 HDF5 需要安装 h5py"),
    (r"not a readable HDF5 file: ", "HDF5 文件无法读取："),
    (r"its metadata hold a pickled Python object; save the table as plain columns",
     "元数据中含有 pickle 序列化的 Python 对象；请把表格另存为普通列"),
    (r"not a readable Parquet file: ", "Parquet 文件无法读取："),
    (r"not a readable mapping: ", "列映射文件无法读取："),
    (r"not a readable (.+?): ", r"\1 无法读取："),
    (r"fewer rows than announced", "实有行数少于声明的行数"),
    (r"(\S+) rows announced, (\S+) found", r"声明有 \1 行，实有 \2 行"),
    (r"no row group (\S+)", r"没有行组 \1"),
    (r"row group (\S+) has (\S+) values; at most (\S+)", r"行组 \1 有 \2 个值；最多 \3 个"),
    (r"(\S+) values where (\S+) x (\S+) belong", r"有 \1 个值，应有 \2 × \3 个"),
    (r"a date is missing", "缺少日期"),
    (r"(\S+) bytes; at most (\S+) are read", r"共 \1 字节；最多读取 \2 字节"),
    (r"the mapping needs `voltage`, and `time` or `clock`",
     "列映射必须有 voltage，以及 time 或 clock"),
    (r"`(.+)` takes one column, not (\d+|\S+)", r"`\1` 只能对应一列，而不是 \2 列"),
    (r"\[(.+)\] of its mapping is (.+), not a table of keys and values",
     r"列映射中的 [\1] 是 \2，不是键值表"),
    (r"unknown section \[(.+)\] in its mapping", r"列映射中有未知的 [\1]"),
    (r"unknown column (.+); known: (.*)", r"未知的列 \1；可用：\2"),
    (r"unknown unit (.+) for `(.+)`; known: (.*)", r"`\2` 的单位 \1 未知；可用：\3"),
    (r"unknown field (.+) in \[info\]; known: (.*)", r"[info] 中有未知的 \1；可用：\2"),
    (r"unknown option (.+); known: (.*)", r"未知的选项 \1；可用：\2"),
    (r"positive_current is (.+); it is `charges` or `discharges`",
     r"positive_current 是 \1；应为 charges 或 discharges"),
    (r"start is (.+), which cannot be", r"start 是 \1，不可能"),
    (r"(\S+) is (.+), which is not (.+)", r"\1 是 \2，不是 \3"),
    (r"(\S+) is (.+), not a date and time", r"\1 是 \2，不是日期时间"),
    (r"skip_rows is (.+), not a number of rows", r"skip_rows 是 \1，不是行数"),
    (r"(\S+) is (.+), not one character", r"\1 是 \2，不是单个字符"),
    (r"(\S+) is (.+), not a number over (\S+) and up to (\S+)",
     r"\1 的值 \2 不是大于 \3 且不超过 \4 的数"),
    (r"(\S+) is (.+), not a whole number from (\S+) on", r"\1 的值 \2 不是从 \3 起的整数"),
    (r"asset (.+) is no name; up to 64 letters, digits, '\.', '_' and '-', "
     r"a letter or digit first",
     r"asset \1 不能用作名称；应为最多 64 个字母、数字、'.'、'_'、'-'，以字母或数字开头"),
    (r"(\S+) has (\S+) characters; at most (\S+) are read",
     r"\1 有 \2 个字符；最多读取 \3 个字符"),
    (r"(\S+) is (.+), not a number", r"\1 的值 \2 不是数字"),
    (r"column (\S+) is (.+), not (.+)", r"列 \1 的类型是 \2，不是 \3"),
    (r"a timestamp is not a date and time", "时间戳不是日期时间"),
    (r"(.+) is not a date and time", r"\1 不是日期时间"),
    (r"no rows", "没有数据行"),
    (r"rows of (\S+) among (\S+)'s", r"\2 的数据中混有 \1 的行"),
    # Operations
    (r"time runs backwards, from (\S+) s to (\S+) s", r"时间倒退：从 \1 s 到 \2 s"),
    (r"the time is not a number", "时间不是数字"),
    (r"a time of (\S+) s cannot be; it is counted in seconds from the start",
     r"时间 \1 s 不可能；应为从开始起的秒数"),
    (r"a start (\S+) ms from 1970 cannot be", r"开始时间（1970 年起 \1 ms）不可能"),
    (r"no row with a measurement", "没有任何测量值"),
    (r"(\d+|\S+) times but (\d+|\S+) (.+) values", r"有 \1 个时间却有 \2 个 \3 值"),
    (r"(\S+) has the shape (.+); one value a row belongs there",
     r"\1 的形状为 \2；每行应为一个值"),
    (r"(\S+) has the shape (.+); .+ a row belongs there", r"\1 的形状为 \2；每行应为一组值"),
    (r"(\S+) sensors; a pack has at most (\S+)",
     r"\1 个温度传感器；一个电池组最多 \2 个"),
    (r"(\S+) \w+; a pack has at most (\S+)", r"\1 个单体；一个电池组最多 \2 个"),
    (r"no date and time", "没有日期时间"),
    (r"not a Cellpulse recording \(no (.+)\)", r"不是 Cellpulse 的记录（缺 \1）"),
    (r"recording version (\S+), this program reads (\S+)", r"记录版本 \1，本程序读取版本 \2"),
    (r"two recordings named (\S+)", r"有两个记录都叫 \1"),
    # MATLAB
    (r"not a NASA battery \.mat file: ", "不是 NASA 电池 .mat 文件："),
    (r"no operations in it", "其中没有充放电记录"),
    (r"no `type` or no `data`", "缺少 type 或 data"),
    (r"no `(\w+)`", r"缺少 \1"),
    (r"an operation of unknown type (.+)", r"未知的操作类型 \1"),
    (r"the compressed data end too early", "压缩数据提前结束"),
    (r"the compressed data are damaged \((.*)\)", r"压缩数据已损坏（\1）"),
    (r"the file ends too early", "文件提前结束"),
    (r"(\d+|\S+) numbers announced, (\d+|\S+) bytes found", r"声明有 \1 个数，实有 \2 字节"),
    (r"too short for a MAT file", "太短，不是 MAT 文件"),
    (r"MAT version (\S+), only level 5 \(0x0100\) is read", r"MAT 版本 \1；只读 5 级（0x0100）"),
    (r"an element (?:of|claims) (\S+) bytes(?: where|;) at most (\S+?)(?: belong)?$",
     r"MAT 元素声明有 \1 字节；最多 \2 字节"),
    (r"the fields of an element take more than (\S+) bytes", r"MAT 元素的各字段共超过 \1 字节"),
    (r"field names of (\S+) bytes; 1 to (\S+) belong there",
     r"MAT 字段名长 \1 字节；应为 1 至 \2 字节"),
    (r"field (.+) has (\S+) elements; at most (\S+) are read",
     r"MAT 字段 \1 有 \2 个元素；最多读取 \3 个"),
    (r"(real numbers expected, found complex ones|array flags expected|array dimensions expected"
     r"|a negative array dimension|array name expected|field name length expected"
     r"|field names do not fit their length|numbers stored as data type \S+|numbers expected"
     r"|text expected|struct expected|an element reaches past the end of what holds it"
     r"|no field \S+|no variable with a field \S+"
     r"|unknown element type \S+|no MAT level 5 mark in its head"
     r"|a small element with more than 4 bytes|field \S+ is not a .*|text stored as data type \S+"
     r"|unknown compressed element type \S+)", r"MAT 结构错误（\1）"),
    # What is known of published cells
    (r"published capacity is the charge drawn until the first loaded sample below 2\.7 V, "
     r"whatever the real cut-off", "公布的容量只计到带载电压首次低于 2.7 V，不论实际截止电压"),
    (r"the second sample of most charges shows a false current of -4\.5 to -2\.3 A",
     "多数充电的第二个采样有 -4.5 至 -2.3 A 的虚假电流"),
    (r"discharged with a 20 s square wave .*",
     "以 20 s 方波放电，每 10 s 采样：采样在零与满电流间交替"),
    (r"passes 60 C in normal use", "正常使用中超过 60 °C"),
    (r"55 % of its discharge rows are idle, after the cut-off",
     "放电记录中 55% 的行在截止之后，为静置"),
    (r"many discharges give less than 0\.5 Ah; the publisher does not say why",
     "许多放电不足 0.5 Ah，发布者未说明原因"),
    (r"some published capacities are impossible \(2\.3 to 2\.6 Ah\) and are left out",
     "部分公布容量不可能（2.3 至 2.6 Ah），已略去"),
    (r"its impedance records say 24 C ambient though the chamber was at 4 C",
     "阻抗记录写环境 24 °C，而温箱为 4 °C"),
    (r"(\S+) V spike in operation 84; its last operation is 5 false rows",
     r"第 84 段有 \1 V 尖峰；最后一段是 5 行虚假数据"),
    (r"ran at 2 A though the publisher's notes say 4 A", "实际为 2 A，而发布者说明为 4 A"),
    (r"one 0\.99 V sample in operation 358", "第 358 段有一个 0.99 V 采样"),
    (r"goes open-circuit now and then; 4 capacities are missing", "时有开路；缺 4 个容量"),
    (r"reads 0\.3 V from operation 10 on; 21 capacities are missing",
     "自第 10 段起读数为 0.3 V；缺 21 个容量"),
    (r"rebuilt from CSV, not the publisher's own bytes", "由 CSV 重建，并非发布者的原始文件"),
    (r"not one of the publisher's 34 cells", "不是发布者的 34 个电芯之一"),
    (r"no temperature was recorded", "没有记录温度"),
    (r"no current was recorded", "没有记录电流"),
    (r"no capacity is stated; 1 Ah is assumed", "没有写明容量：按 1 Ah 处理"),
    (r"discharges only: the charges between them were not published", "只有放电：其间的充电未公布"),
)  # fmt: skip

_WHERE: tuple[tuple[str, str], ...] = (
    (r", operation (\d+) \((\w+)(?: of cycle (\d+))?(?:, row (\d+))?\)", r"，第 \1 段（\2）"),
    (r", operation (\d+) \(record (\d+), (\w+)\)", r"，第 \1 段（记录 \2，\3）"),
    (r"^operation (\d+): ", r"第 \1 段: "),
    (r", after record (\d+)", r"，记录 \1 之后"),
    (r", after row (\d+)", r"，第 \1 行之后"),
    (r", record (\d+)", r"，记录 \1"),
    (r", row (\d+)", r"，第 \1 行"),
    (r", line (\d+)", r"，第 \1 行"),
    (r", sheet ", "，工作表 "),
    (r": column ('[^']*'): ", r"：列 \1："),
    (r", columns? ", "，列 "),
    (r", dataset ", "，数据集 "),
    (r"\bcharge\b", "充电"),
    (r"\bdischarge\b", "放电"),
    (r"\bmixed\b", "混合"),
)
_SAID_COMPILED = tuple((re.compile(said), zh) for said, zh in _SAID)
_WHERE_COMPILED = tuple((re.compile(where), zh) for where, zh in _WHERE)


def in_chinese(words: str) -> str:
    """A reader's sentence in Chinese; as it is where it is not known."""
    for said, zh in _SAID_COMPILED:
        found = said.search(words)
        if found is None:
            continue
        begin, end = _placed(words[: found.start()]), words[found.end() :]
        told = found.expand(zh)
        if told.endswith("：") and end:  # what follows is another sentence, or another library's
            end = in_chinese(end)
        return f"{begin}{told}{end}"
    return words


def _placed(where: str) -> str:
    """The place that a sentence names, such as `a.csv, row 5: `."""
    for said, zh in _WHERE_COMPILED:
        where = said.sub(zh, where)
    return f"{where[:-2]}：" if where.endswith(": ") else where
