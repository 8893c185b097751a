/* What the page's scripts share and are sent, for the type check (`jsconfig.json` beside this).
   `tests/monitor/dashboard/test_javascript.py` holds the records to those of the server. */

type Maybe<T> = T | null | undefined;
type RiskName = "unknown" | "ok" | "watch" | "warning" | "danger";
type Column = Maybe<number>[];
type Children = any; // of Dash: text, a component, or a list of both

/* `monitor.dashboard.live.rows.Row`; what has its default is left out. */
interface Row {
  id: string;
  limit: number;
  cells?: number;
  v?: Maybe<number>;
  vmin?: Maybe<number>;
  vmax?: Maybe<number>;
  i?: Maybe<number>;
  t?: Maybe<number>;
  score?: Maybe<number>;
  soc?: Maybe<number>;
  soh?: Maybe<number>;
  lo?: Maybe<number>;
  hi?: Maybe<number>;
  st?: Maybe<string>;
  r?: Maybe<number>;
  heat?: Maybe<number>;
  phase?: Maybe<string>;
  risk?: RiskName;
  why?: Maybe<string>;
  why_zh?: Maybe<string>;
  advice?: Maybe<string>;
  advice_zh?: Maybe<string>;
  alarms?: number;
  unack?: number;
  sev?: number;
  at?: Maybe<number>;
  ts?: Maybe<number>;
  stale?: boolean;
  off?: boolean;
}

/* `monitor.dashboard.app.PageSettings`. */
interface PageSettings {
  spans_ms: Record<string, number>;
  gap_ms: number;
  gap_steps: number;
  limits: Record<string, number | null>;
  speeds: number[];
  upload_bytes: number;
}

/* `monitor.dashboard.pages.outlook.Outlook`. */
interface Outlook {
  state: "ok" | "few" | "family";
  seen: number;
  needs: number;
  end_of_life: number | null;
  knee_cycle: number | null;
  knee_ms: number | null;
  last_ms: number | null;
  cycle_ms: number | null;
  step: number[];
  soh: number[];
  low: number[];
  high: number[];
  ahead: number;
  remaining: number | null;
  remaining_low: number | null;
  remaining_high: number | null;
  farthest: number;
}

/* What every frame says of the whole. */
interface Head {
  assets?: number;
  stale?: number;
  alarms?: number;
  unack?: number;
  worst?: number;
  feed?: boolean;
  feed_since?: number;
  monitor?: boolean | null;
  rate?: number | null;
}

/* An SOH as words need it: of a row, of a cell, of a cycle. */
type SohLike = Pick<Row, "soh" | "lo" | "hi" | "st">;

/* What a page does with what comes; each script adds its own. */
interface Handler {
  enter?(look: any): void;
  leave?(): void;
  frame?(frame: any): void;
  second?(): void;
  redraw?(): void;
  [more: string]: any;
}

interface Figure {
  data: any[];
  layout: any;
}

/* What the first script gives to all others. */
interface Core {
  language: "en" | "zh";
  utc: boolean;
  started: boolean;
  soundOn: boolean;
  head: Head | null;
  handlers: Record<string, Handler>;
  frames: number;
  settings: PageSettings;
  narrow: MediaQueryList;
  known<T>(value: T): value is NonNullable<T>;
  text(key: string, values?: Record<string, unknown>): string;
  number(value: Maybe<number>, digits?: number, unit?: string): string;
  soh(row: SohLike): { main: string; sub: string };
  phase(value: Maybe<string>): string;
  time(ms: Maybe<number>, withDate?: boolean): string;
  axisTime(ms: number): string;
  age(ms: number): string;
  now(): number;
  isLost(): boolean;
  isStale(row: Row): boolean;
  fresh(row: Row): { kind: "stale" | "live"; words: string };
  risk(row: Row): Lamp;
  lamp(kind: RiskName): Lamp;
  css(name: string): string;
  put(id: string, props: Record<string, unknown>): void;
  forget(prefix: string): void;
  whenThere(id: string, then: () => void): void;
  show(id: string, yes: boolean): void;
  say(words: object): void;
  el(type: string, props: object | null, children?: Children): object;
  link(href: string, props: object, children: Children): object;
  around(event: Event, selector: string): HTMLElement | null;
  assetPath(asset: string, cell?: number): string;
}

/* With what the others add. */
interface Cellpulse extends Core {
  grid(id: string, use: (api: any) => void): void;
  cycleGrid(id: string, cycles: any[]): void;
  series: {
    last(list: number[]): number;
    last(list: Column): Maybe<number>;
    isGap(times: number[], next: number): boolean;
    isEmpty(columns: Column[], row: number): boolean;
    append(buffer: Column[], columns: Column[]): void;
    trim(buffer: Column[], oldest: number): void;
    keepExtremes(columns: Column[], points: number): number[];
    thin(buffer: Column[], numbers: number[], most: number, points: number): boolean;
    scored(trace: { ts: number[]; v: Column; i: Column; t: Column; score: Column }): number[];
  };
  figures: {
    times(list: number[]): string[];
    traces(S: Column[], E: Column[], revision: string, hot?: { start_ms: number; end_ms: number }[], bridge?: boolean): Figure;
    room(values: Column, least: number): { include?: number[] };
    LEAST_V: number;
    LEAST_C: number;
    soh(cycles: any[], nominal: Maybe<number>, now: any, truths: [number, number][], outlook: Maybe<Outlook>, eol: Maybe<number>, revision: string): Figure;
    outlookWords(outlook: Maybe<Outlook>): string;
    ica(curves: any[], revision: string): Figure;
  };
}

interface Lamp {
  kind: RiskName;
  sign: string;
  words: string;
}

/* Dash, its table, React and Plotly come with the page and bring no types. */
interface Window {
  cellpulse: Cellpulse;
  dash_clientside: any;
  dash_ag_grid: any;
  dashAgGridFunctions: Record<string, (...values: any[]) => any>;
  dashAgGridComponentFunctions: Record<string, (props: any) => any>;
  React: any;
  Plotly: any;
}
