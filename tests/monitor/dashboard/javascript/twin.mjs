/* Answers the cases on standard input with what the page's own script makes of them. */
import { readFileSync } from "node:fs";
import { open } from "./page.mjs";

const { series } = open().cp;
const { kept, gap } = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify({
  kept: kept.map(({ columns, points }) => series.keepExtremes(columns, points)),
  gap: gap.map(({ times, next }) => series.isGap(times, next)),
}));
