/* The pages of each level, by their names in the address; without one the jobs are seen. A page: name, title (a key of words/), at (levels), view, may(may, view)
 * where not everybody's, item: it is of one thing and has no link of its own. Each view gets data, view, may, store, say(text, bad). */
import { el } from '../parts/dom.js';
import { hashOf } from '../data/route.js';
import { t } from '../words/words.js';
import { Replication } from './replication.js';
import { Job } from './job.js';
import { Schedule } from './schedule.js';
import { Doctor, mayExamine } from './doctor.js';

const PAGES = [
    { name: '', title: 'replication', at: ['datacenter', 'node', 'guest'], view: Replication },
    { name: 'job', title: 'job.page', at: ['guest'], view: Job, item: true },
    { name: 'schedule', title: 'simulator', at: ['datacenter'], view: Schedule },
    { name: 'doctor', title: 'doctor', at: ['node'], view: Doctor, may: mayExamine },
];

const isThere = (page, view, may) => page.at.includes(view.kind) && (!page.may || page.may(may, view));

export function pageOf(view, may) {
    return PAGES.find((page) => page.name === view.page && Boolean(page.item) === Boolean(view.item) && isThere(page, view, may)) || PAGES[0];
}

export const titleOf = (page, view) => t(page.title, view.item);

/* From one page of the level to another; nothing, where there is but one. */
export function links(view, may) {
    const now = pageOf(view, may), pages = PAGES.filter((page) => (page === now || !page.item) && isThere(page, view, may));
    return pages.length < 2 ? null : el('div', { class: 'pages', role: 'navigation', 'aria-label': t('pages') },
        pages.map((page) => el('a', { key: page.name, href: hashOf(view.kind, view.name, page.name, page.item && view.item),
            'aria-current': page === now ? 'page' : null }, titleOf(page, view))));
}
