// Pool::run of native/runtime/threads.cpp: each thread takes the items of its own contiguous range in order, then steals those of the next threads.

/** Seconds from the start of a region to its last item. */
export function makespan(items, threads) {
  if (items.length === 0) return 0;
  if (threads === 1 || items.length === 1) return items.reduce((sum, seconds) => sum + seconds, 0);
  const next = Array.from({ length: threads }, (_, thread) => Math.floor((items.length * thread) / threads));
  const end = Array.from({ length: threads }, (_, thread) => Math.floor((items.length * (thread + 1)) / threads));
  const victim = new Array(threads).fill(0);
  const now = new Array(threads).fill(0);
  let left = items.length;
  let last = 0;
  while (left > 0) {
    let thread = -1;
    for (let t = 0; t < threads; t++) if (victim[t] < threads && (thread < 0 || now[t] < now[thread])) thread = t;
    let share = (thread + victim[thread]) % threads;
    while (next[share] >= end[share] && victim[thread] < threads) share = (thread + ++victim[thread]) % threads;
    if (victim[thread] >= threads) continue;
    now[thread] += items[next[share]++];
    left--;
    last = Math.max(last, now[thread]);
  }
  return last;
}
