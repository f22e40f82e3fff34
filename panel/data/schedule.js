/* Schedules: the ones that the dialog offers, and whether a text can be one. The server has the last word. */

/* Each has a text schedule.N in words/. */
export const PRESETS = ['*/15', '*/30', '*/2:00', '21:00', '2,22:30', 'mon..fri 00:00', 'mon..fri */1:00', 'mon..fri 7..18:00/15',
    'sun 01:00', 'monthly', 'sat *-1..7 15:00', 'yearly'];

/* The number of the preset that the schedule is, or -1. */
export function presetOf(schedule) {
    const plain = (schedule || PRESETS[0]).trim().replace(/\s+/g, ' ').toLowerCase();
    return PRESETS.indexOf(plain);
}

/* The shortest and the longest time between two events, in seconds; null: there are not two. */
export function gapsOf(events) {
    const gaps = events.slice(1).map((event, i) => event.timestamp - events[i].timestamp);
    return gaps.length > 0 ? [Math.min(...gaps), Math.max(...gaps)] : null;
}
