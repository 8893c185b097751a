/* Columns of samples over time: where a line is broken, and fewer points without losing a peak. The
   first column is event time. The server thins by the same two rules (`monitor/store/thinning.py`). */
(function () {
  "use strict";
  const cp = window.cellpulse;
  const last = (list) => (list.length ? list[list.length - 1] : -Infinity);

  /* Whether `next` comes so long after the last of `times` that no line is drawn across. Told of
     rows as they came: of thinned ones the spacing says nothing, so gaps are marked before. */
  function isGap(times, next) {
    const { gap_ms, gap_steps } = cp.settings;
    if (!(next - last(times) > gap_ms)) return false;
    const steps = times.map((ms, n) => (n + 1 < times.length ? times[n + 1] : next) - ms).sort((a, b) => a - b);
    const middle = steps.length >> 1;
    const median = steps.length % 2 ? steps[middle] : (steps[middle - 1] + steps[middle]) / 2;
    return next - last(times) > gap_steps * median;
  }

  /* Whether none of the columns has a value in that row: there a line is broken. */
  const isEmpty = (columns, row) => columns.every((column) => !cp.known(column[row]));

  /* Appends the columns' rows that are newer than what is there; a gap is marked by an empty row. */
  function append(buffer, columns) {
    if (!columns.length) return;
    for (let row = 0; row < columns[0].length; row++) {
      const ms = columns[0][row];
      if (ms <= last(buffer[0])) continue;
      if (isGap(buffer[0], ms)) buffer.forEach((list, n) => list.push(n ? null : last(buffer[0]) + 1));
      buffer.forEach((list, n) => list.push(columns[n] ? columns[n][row] : null));
    }
  }

  /* Drops the rows before a time. */
  function trim(buffer, oldest) {
    let cut = 0;
    while (cut < buffer[0].length && buffer[0][cut] < oldest) cut += 1;
    if (cut) buffer.forEach((list) => list.splice(0, cut));
  }

  /* Of at most about `points` rows the places, in order. M4: of every stretch the first row, the
     last, and those with the extremes of each column stay, and empty rows with their neighbours. */
  function keepExtremes(columns, points) {
    const count = columns.length ? columns[0].length : 0;
    if (count <= points) return Array.from({ length: count }, (_, n) => n);
    const keep = new Set();
    let marks = 0;
    for (let n = 0; n < count && marks < Math.floor(points / 6); n++) {
      if (!isEmpty(columns, n) || (n > 0 && isEmpty(columns, n - 1))) continue;
      marks += 1;
      for (const near of [n - 1, n, n + 1]) keep.add(Math.max(0, Math.min(count - 1, near)));
    }
    const stretches = Math.max(1, Math.floor((points - 3 * marks) / (2 * columns.length + 2)));
    const edge = (s) => (s === stretches ? count : Math.floor(s * (count / stretches)));
    for (let s = 0; s < stretches; s++) {
      const begin = edge(s), end = edge(s + 1);
      keep.add(begin);
      keep.add(end - 1);
      for (const column of columns) {
        let low = -1, high = -1;
        for (let n = begin; n < end; n++) {
          const value = column[n];
          if (!cp.known(value)) continue;
          if (low < 0 || value < column[low]) low = n;
          if (high < 0 || value > column[high]) high = n;
        }
        if (low >= 0) { keep.add(low); keep.add(high); }
      }
    }
    return [...keep].sort((a, b) => a - b);
  }

  /* Thins a buffer of more than `most` rows to about `points`, by the extremes of the columns with
     those numbers; whether it did. */
  function thin(buffer, numbers, most, points) {
    if (buffer[0].length <= most) return false;
    const order = keepExtremes(numbers.map((column) => buffer[column]), points);
    buffer.forEach((list, c) => { buffer[c] = order.map((n) => list[n]); });
    return true;
  }

  /* The places of a stored trace at which the thermal score is drawn: where there is one, and where
     nothing was heard: there is no score either, and neither line goes on. */
  function scored(trace) {
    return trace.ts.map((_, n) => n).filter((n) => cp.known(trace.score[n]) || isEmpty([trace.v, trace.i, trace.t], n));
  }

  cp.series = { last, isGap, isEmpty, append, trim, keepExtremes, thin, scored };
})();
