"""Every word on the page, in English and Chinese. The browser is given the same table."""

from __future__ import annotations

from typing import Final, Literal

Language = Literal["en", "zh"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")

TEXTS: Final[dict[str, tuple[str, str]]] = {
    # The frame of the page
    "fleet": ("Fleet", "电池总览"),
    "alarms": ("Alarms", "报警"),
    "analyse": ("Analyse a file", "分析文件"),
    "language": ("Language", "语言"),
    "sign_out": ("Sign {user} out", "{user} 退出登录"),
    "theme": ("Light or dark", "浅色或深色"),
    "time_zone": ("Time zone of the page", "页面时区"),
    "local_time": ("Local", "本地"),
    "utc_time": ("UTC", "UTC"),
    "skip": ("Skip to the content", "跳到正文"),
    "back_to_fleet": ("All assets", "全部电池"),
    "not_found": ("There is no such page.", "没有这个页面。"),
    # Connection
    "live": ("live", "实时"),
    "connecting": ("Connecting…", "正在连接…"),
    "lost_server": (
        "The connection to the server is lost. What you see is old. Trying again…",
        "与服务器的连接已断开，以下内容不是当前数据。正在重试…",
    ),
    "lost_feed": (
        "The server has lost its message broker. What you see is old. Trying again…",
        "服务器与消息代理的连接已断开，以下内容不是当前数据。正在重试…",
    ),
    "lost_monitor": (
        "No monitor is running: estimates and alarms do not move.",
        "监测服务未运行：估计值和报警不会更新。",
    ),
    "since": ("since {time}", "自 {time} 起"),
    # Quantities
    "asset": ("Asset", "电池"),
    "cell": ("Cell", "单体"),
    "cells": ("{n} cells", "{n} 个单体"),
    "voltage": ("Voltage", "电压"),
    "current": ("Current", "电流"),
    "temperature": ("Temperature", "温度"),
    "ambient": ("Ambient", "环境温度"),
    "score": ("Thermal score", "热异常分数"),
    "score_hint": ("1 is the alarm threshold", "1 为报警阈值"),
    "heat": ("Excess heat", "异常发热"),
    "soc": ("State of charge", "荷电状态"),
    "soh": ("State of health", "健康状态"),
    "soc_short": ("SOC", "SOC"),
    "soh_short": ("SOH", "SOH"),
    "interval": ("90 % interval", "90% 区间"),
    "resistance": ("Resistance", "内阻"),
    "phase": ("Phase", "工况"),
    "risk": ("Thermal risk", "热风险"),
    "freshness": ("Freshness", "时效"),
    "truth": ("Recorded truth", "记录真值"),
    "spread": ("Cell spread", "单体压差"),
    # State of health in words
    "soh_not_enough_seen": ("not enough seen yet", "数据尚不足"),
    "soh_unlike_training": ("unlike the training data", "与训练数据差异大"),
    "soh_no_model": ("no model for this cell", "无适用模型"),
    "soh_none": ("not estimated", "未估计"),
    # Risk lamp
    "risk_ok": ("Normal", "正常"),
    "risk_watch": ("Watch", "关注"),
    "risk_warning": ("Warning", "警告"),
    "risk_danger": ("Danger", "危险"),
    "risk_unknown": ("Unknown", "未知"),
    # Freshness
    "fresh": ("live", "实时"),
    "stale": ("stale · {age}", "已过时 · {age}"),
    "offline": ("offline · {age}", "离线 · {age}"),
    "never": ("no telemetry yet", "尚无遥测"),
    "seconds": ("{n} s", "{n} 秒"),
    "minutes": ("{n} min", "{n} 分"),
    "hours": ("{n} h", "{n} 小时"),
    "days": ("{n} d", "{n} 天"),
    # Phases
    "phase_cc_charge": ("CC charge", "恒流充电"),
    "phase_cv_charge": ("CV charge", "恒压充电"),
    "phase_charge": ("Charge", "充电"),
    "phase_discharge": ("Discharge", "放电"),
    "phase_rest": ("Rest", "静置"),
    "phase_unknown": ("Unknown", "未知"),
    # Fleet
    "search": ("Search assets", "搜索电池"),
    "view": ("View", "视图"),
    "tiles": ("Tiles", "卡片"),
    "table": ("Table", "表格"),
    "sort": ("Sort by", "排序"),
    "by_name": ("Name", "名称"),
    "by_risk": ("Worst first", "风险优先"),
    "by_soh": ("Lowest SOH", "SOH 最低"),
    "by_temperature": ("Hottest", "温度最高"),
    "no_assets": (
        "No battery has been heard yet. The page fills by itself as soon as one publishes.",
        "尚未收到任何电池的数据。一旦有电池上报，页面会自动显示。",
    ),
    "more_tiles": (
        "{n} more: search, or use the table.",
        "另有 {n} 个：请搜索或使用表格。",
    ),
    "count_assets": ("assets", "电池"),
    "count_stale": ("stale", "过时"),
    "count_alarms": ("alarms", "报警"),
    "count_unack": ("unacknowledged", "未确认"),
    # Asset
    "traces": ("Live traces", "实时曲线"),
    "range": ("Range", "时间范围"),
    "range_1m": ("1 min", "1 分"),
    "range_10m": ("10 min", "10 分"),
    "range_1h": ("1 h", "1 小时"),
    "range_6h": ("6 h", "6 小时"),
    "range_all": ("All", "全部"),
    "pause": ("Pause", "暂停"),
    "resume": ("Resume", "继续"),
    "paused": ("Paused: the traces stand still, the numbers do not.", "曲线已暂停，数值仍在更新。"),
    "soh_history": ("State of health over its life", "健康状态历史"),
    "ica": ("Incremental capacity (dQ/dV)", "增量容量 (dQ/dV)"),
    "ica_first": ("first charges", "最初的充电"),
    "ica_now": ("newest charge", "最近的充电"),
    "ica_number": ("charge {n}", "第 {n} 次充电"),
    "voltage_axis": ("Voltage V", "电压 V"),
    "end_of_life": ("end of life, {n} %", "寿命终点 {n}%"),
    "forecast_band": ("forecast, 90 % interval", "预测，90% 区间"),
    "forecast_few": (
        "A forecast needs {needs} complete discharges; {seen} seen so far.",
        "预测需要 {needs} 次完整放电；目前已有 {seen} 次。",
    ),
    "forecast_family": (
        "No forecast: its model was not trained on cells of this kind.",
        "无预测：预测模型未用此类电芯训练。",
    ),
    "forecast_ten": (
        "In {n} cycles: {soh} % ({low} to {high} %).",
        "{n} 个循环后：{soh}%（{low} 至 {high}%）。",
    ),
    "forecast_end": (
        "End of life ({eol} %) in {n} cycles ({low} to {high}).",
        "距寿命终点（{eol}%）{n} 个循环（{low} 至 {high}）。",
    ),
    "forecast_over": ("over {n}", "{n} 以上"),
    "forecast_none": (
        "No end of life ({eol} %) within {n} cycles.",
        "{n} 个循环内不到寿命终点（{eol}%）。",
    ),
    "forecast_past": ("Already below end of life ({eol} %).", "已低于寿命终点（{eol}%）。"),
    "knee": ("knee", "拐点"),
    "knee_at": ("Knee noticed at cycle {n}.", "第 {n} 个循环发现拐点。"),
    "full_discharges": ("Full discharges, measured", "完整放电实测"),
    "ica_none": ("Shown after the first complete charge.", "首次完整充电后显示。"),
    "cycles": ("Charges and discharges", "充放电记录"),
    "no_cycles": ("No finished charge or discharge yet.", "尚无完成的充电或放电。"),
    "asset_alarms": ("Alarms of this asset", "该电池的报警"),
    "no_alarms": ("No alarm stands.", "当前无报警。"),
    "missing_asset": (
        "Nothing has been heard of {name} since the server started.",
        "服务器启动后尚未收到 {name} 的数据。",
    ),
    "no_history": (
        "No store is attached: only what was seen live is drawn.",
        "未连接存储：仅显示实时数据。",
    ),
    "pack": ("Cells of the pack", "电池组各单体"),
    "heat_of": ("Colour shows", "颜色表示"),
    "eol": ("End of life", "寿命终止"),
    "forecast": ("Forecast", "预测"),
    "config": ("About this asset", "电池信息"),
    "nominal": ("Nominal capacity", "额定容量"),
    "chemistry": ("Chemistry", "化学体系"),
    "source": ("Source of data", "数据来源"),
    "replay": ("Replay of a recording, not a live battery", "录制数据回放，并非实时电池"),
    "replay_controls": ("Replay", "回放控制"),
    "replay_pause": ("Pause replay", "暂停回放"),
    "replay_resume": ("Play", "继续回放"),
    "replay_step": ("One sample", "单步"),
    "replay_speed": ("Set speed", "设定速度"),
    "replay_seek": ("Go to cycle", "跳到循环"),
    "replay_inject": ("Inject fault", "注入故障"),
    "replay_fault": ("Fault", "故障类型"),
    "sent": ("sent", "已发送"),
    "synthetic": ("Synthetic data from a model", "模型合成数据"),
    # Analysis of a file
    "drop": ("Drop a recording here, or choose a file", "把记录文件拖到此处，或点击选择"),
    "drop_formats": (
        "NASA .mat, CALCE .xlsx or .zip, Battery Data Format, Parquet; at most 256 MiB. "
        "The file is read on the server and not kept.",
        "NASA .mat、CALCE .xlsx 或 .zip、电池数据格式 BDF、Parquet；最大 256 MiB。"
        "文件只在服务器上读取，不会保存。",
    ),
    "progress": ("Progress of the analysis", "分析进度"),
    "uploading": ("Sending {name}…", "正在上传 {name}…"),
    "analysing": ("Analysing {name}…", "正在分析 {name}…"),
    "upload_too_large": ("The file is larger than 256 MiB.", "文件超过 256 MiB。"),
    "upload_busy": (
        "Other files are being analysed; try again in a minute.",
        "正在分析其他文件，请稍后再试。",
    ),
    "nominal_if_unsaid": (
        "Nominal capacity in Ah, for a table that does not say it",
        "额定容量（Ah），表格没有写明时填写",
    ),
    "upload_nominal": (
        "The nominal capacity is not a number of ampere-hours above 0.",
        "额定容量不是大于 0 的安时数。",
    ),
    "upload_name": ("The file's name cannot be used.", "文件名无法使用。"),
    "upload_failed": ("The file could not be sent.", "文件发送失败。"),
    "samples": ("Samples", "采样数"),
    "time_span": ("Time span", "时间跨度"),
    "hot_segments": ("Thermal segments", "热异常片段"),
    "whole_life": ("Traces, with the thermal segments marked", "曲线与热异常片段"),
    "problems": ("What was found in the data", "数据中发现的问题"),
    # Health report
    "report_download": ("Health report (PDF)", "健康报告 (PDF)"),
    "report_making": ("Making the report…", "正在生成报告…"),
    "report_busy": (
        "Other reports are being made; try again in a minute.",
        "正在生成其他报告，请稍后再试。",
    ),
    "report_gone": (
        "There is no report here any more; analyse the file again.",
        "报告已不存在，请重新分析文件。",
    ),
    "report_failed": ("The report could not be fetched.", "报告获取失败。"),
    # Cycle table
    "number": ("No.", "序号"),
    "kind": ("Kind", "类型"),
    "kind_charge": ("Charge", "充电"),
    "kind_discharge": ("Discharge", "放电"),
    "start": ("Start", "开始"),
    "duration": ("Duration", "时长"),
    "capacity": ("Charge moved", "电量"),
    "energy": ("Energy", "能量"),
    "t_max": ("Highest temperature", "最高温度"),
    "complete": ("Complete", "完整"),
    "yes": ("yes", "是"),
    "no": ("no", "否"),
    # Alarms
    "severity": ("Severity", "级别"),
    "severity_1": ("Notice", "提示"),
    "severity_2": ("Low", "低"),
    "severity_3": ("Medium", "中"),
    "severity_4": ("High", "高"),
    "severity_5": ("Critical", "紧急"),
    "alarm": ("Alarm", "报警内容"),
    "value": ("Value", "数值"),
    "limit": ("Limit", "限值"),
    "state": ("State", "状态"),
    "state_unacknowledged": ("unacknowledged", "未确认"),
    "state_acknowledged": ("acknowledged", "已确认"),
    "state_returned-unacknowledged": ("returned, unacknowledged", "已恢复未确认"),
    "state_shelved": ("shelved", "已搁置"),
    "state_suppressed": ("suppressed", "已抑制"),
    "state_out of service": ("out of service", "停用"),
    "state_normal": ("normal", "正常"),
    "count": ("Count", "次数"),
    "since_column": ("Since", "起始时间"),
    "what_to_do": ("What to do", "处置建议"),
    "journal": ("Journal", "报警日志"),
    "no_events": ("Nothing has happened yet.", "暂无记录。"),
    "sound": ("Sound on a new alarm", "新报警声音提示"),
    "several_assets": ("Several assets", "多个电池"),
    "acknowledge": ("Acknowledge", "确认"),
    "shelve": ("Shelve", "搁置"),
    "unshelve": ("Unshelve", "取消搁置"),
    "say_comment": ("Comment", "添加备注"),
    "out_of_service": ("Out of service", "停用"),
    "asset_out_of_service": ("Take this asset out of service", "停用该电池"),
    "asset_in_service": ("Put this asset back into service", "恢复使用该电池"),
    "in_service": ("Back in service", "恢复使用"),
    "comment": ("Comment", "备注"),
    "your_name": ("Your name", "操作人"),
    "for_how_long": ("For how long", "时长"),
    "select_first": ("Choose an alarm in the list first.", "请先在列表中选择报警。"),
    "name_first": (
        "Enter your name first (letters, digits, . _ -): the journal says who acted.",
        "请先填写操作人（字母、数字、. _ -），日志将记录操作人。",
    ),
    "selected": ("{n} chosen", "已选 {n} 条"),
    "reply_done": ("done", "已完成"),
    "reply_refused": ("refused: {reason}", "被拒绝：{reason}"),
    "user_caused": ("by {user}", "操作人 {user}"),
}


def text(key: str, language: Language, **values: object) -> str:
    """The words of `key`; raises KeyError for an unknown key."""
    words = TEXTS[key][LANGUAGES.index(language)]
    return words.format(**values) if values else words


def table(language: Language) -> dict[str, str]:
    """All words of one language, as the browser gets them."""
    index = LANGUAGES.index(language)
    return {key: words[index] for key, words in TEXTS.items()}


def as_language(value: object) -> Language:
    """`zh` for anything that begins with it, else English."""
    return "zh" if isinstance(value, str) and value.lower().startswith("zh") else "en"
