/* A plot over time, of SVG elements, and beside it in words what it shows. title, points [{ at (seconds), value, bad, peak }], format(value),
 * units (in which values are written, see roundUp), joined (a line with marks at its peaks, else bars), words (what a screen reader hears). */
import { el } from './dom.js';
import { roundUp } from '../data/runs.js';
import { timestamp } from '../data/format.js';

const WIDTH = 340, HEIGHT = 132, LEFT = 58, RIGHT = 8, TOP = 10, BOTTOM = 20;

function grid(top, format, y) {
    return [0, 0.5, 1].map((part) => el('g', { key: part },
        el('line', { class: 'axis', x1: LEFT, x2: WIDTH - RIGHT, y1: y(top * part), y2: y(top * part) }),
        el('text', { x: LEFT - 5, y: y(top * part) + 4, 'text-anchor': 'end' }, format(top * part))));
}

function ends(from, to) {
    const day = to - from > 43200, text = (at) => (day ? timestamp(at).slice(5, 16) : timestamp(at).slice(11, 16));
    return [el('text', { x: LEFT, y: HEIGHT - 5 }, text(from)), el('text', { x: WIDTH - RIGHT, y: HEIGHT - 5, 'text-anchor': 'end' }, text(to))];
}

/* The more there are, the thinner they are. */
function mark({ at, value, bad }, x, y, format, joined, room) {
    const title = el('title', null, `${timestamp(at)}: ${format(value)}`);
    return joined ? el('circle', { class: 'mark', cx: x(at), cy: y(value), r: Math.min(2, room / 2) }, title) :
        el('line', { class: bad ? 'mark bad' : 'mark', x1: x(at), x2: x(at), y1: y(0), y2: Math.min(y(value), y(0) - 1),
            'stroke-width': Math.min(6, room * 0.7) }, title);
}

export function plot({ title, points, format, units, joined, words }) {
    const top = roundUp(points.reduce((most, point) => Math.max(most, point.value), 0), units);
    const from = points.length > 0 ? points[0].at : 0, to = points.length > 0 ? points[points.length - 1].at : 0, span = Math.max(1, to - from);
    const x = (at) => LEFT + 3 + (at - from) / span * (WIDTH - LEFT - RIGHT - 6), y = (value) => HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    return el('figure', { class: 'plot' },
        el('figcaption', null, el('strong', null, title), ' ', el('span', { class: 'hint' }, words)),
        el('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': `${title}: ${words}` },
            grid(top, format, y), points.length > 0 ? ends(from, to) : null,
            joined ? el('polyline', { class: 'curve', points: points.map((one) => `${x(one.at).toFixed(1)},${y(one.value).toFixed(1)}`).join(' ') }) : null,
            points.filter((one) => !joined || one.peak).map((one) => mark(one, x, y, format, joined, (WIDTH - LEFT - RIGHT) / points.length))));
}
