/* Times, durations, rates as texts: plain values in, texts out. `locale` as Intl knows it. */

const pad = (number) => String(number).padStart(2, '0');

/* null: no date is so far away, as a damaged state, or another node, may have it. Then the number itself is what is shown. */
function dateOf(seconds) {
    const d = new Date(seconds * 1000);
    return Number.isNaN(d.getTime()) ? null : d;
}

/* For the attribute of a <time>; null: there is none. */
export const iso = (seconds) => dateOf(seconds)?.toISOString() ?? null;

/* Seconds since the epoch, in the viewer's zone: 2026-01-31 22:15:03. */
export function timestamp(seconds) {
    const d = dateOf(seconds);
    return !d ? String(seconds) : `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}

export function utc(seconds) {
    const text = iso(seconds);
    return text ? `${text.slice(0, 19).replace('T', ' ')} UTC` : String(seconds);
}

/* 3.2 s, 2 min 5 s, 1 h 4 min, 3 d 2 h: two units at most. */
export function duration(seconds, locale) {
    if (seconds < 10)
        return `${new Intl.NumberFormat(locale, { maximumFractionDigits: 1 }).format(seconds)} s`;
    let rest = Math.round(seconds);
    const parts = [];
    for (const [unit, size] of [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]]) {
        const count = Math.floor(rest / size);
        rest -= count * size;
        if (count > 0 || parts.length > 0)
            parts.push(count > 0 ? `${count} ${unit}` : '');
        if (parts.length === 2)
            break;
    }
    return parts.filter(Boolean).join(' ');
}

/* 1.5 GiB */
export function bytes(count, locale) {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
    const at = count >= 1 ? Math.min(units.length - 1, Math.floor(Math.log2(count) / 10)) : 0;
    return `${new Intl.NumberFormat(locale, { maximumFractionDigits: 1 }).format(count / 1024 ** at)} ${units[at]}`;
}

export function megabytes(rate, locale) {
    return `${new Intl.NumberFormat(locale).format(rate)} MB/s`;
}

/* Mon, 2026-01-31 22:15:03, in the viewer's zone. */
export function dayAndTime(seconds, locale) {
    const d = dateOf(seconds);
    return [d && new Intl.DateTimeFormat(locale, { weekday: 'short' }).format(d), timestamp(seconds)].filter(Boolean).join(' ');
}
