// One timer for everything on the page that changes by the mere passing of time.

const updates = new Set();

setInterval(() => updates.forEach((update) => update()), 1000);

/** Calls `update` now and then every second, until `signal` is aborted. */
export function everySecond(update, signal) {
  if (signal.aborted) return;
  update();
  updates.add(update);
  signal.addEventListener("abort", () => updates.delete(update));
}

/** Resolves after so many milliseconds, or at once when `signal` is aborted. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
