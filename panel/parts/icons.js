/* Small pictures beside texts: they say nothing that the text does not. */
import { el } from './dom.js';

const PATHS = {
    ok: 'M3 8.500 6.500 12 13 4.500',
    error: 'M4 4l8 8M12 4l-8 8',
    removal: 'M8 2 15 14H1ZM8 6.500v3.500M8 12v.2',
    disabled: 'M6 4v8M10 4v8',
    waiting: 'M8 4v4l2.500 2M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0Z',
    unknown: 'M6 6a2 2 0 1 1 3 1.700Q8 8.400 8 9.500M8 12v.2',
    datacenter: 'M2 3h12v4H2ZM2 9h12v4H2ZM4.500 5h.2M4.500 11h.2',
    node: 'M3 2h10v12H3ZM6 5h4M6 8h4M8 11.500v.2',
    qemu: 'M2 3h12v8H2ZM5 14h6M8 11v3',
    lxc: 'M8 2 14 5v6l-6 3-6-3V5ZM2 5l6 3 6-3M8 8v6',
    open: 'M6 4l4 4-4 4',
    details: 'M2 13.500h12M4 11V8M8 11V3M12 11V6',
    copy: 'M6 6h7v7H6ZM3 10V3h7',
    menu: 'M2 4h12M2 8h12M2 12h12',
    add: 'M8 3v10M3 8h10',
    edit: 'M3 13l1-3.500L11 2.500 13.500 5 6.500 12Z',
    remove: 'M3 4.500h10M6 4V2.500h4V4M4.500 4.500 5 13.500h6l.5-9M7 7v4M9 7v4',
    log: 'M3 3h10M3 6.300h10M3 9.600h10M3 13h6',
    now: 'M4 3l9 5-9 5Z',
    enable: 'M3 8.500 6.500 12 13 4.500',
    disable: 'M6 4v8M10 4v8',
    failover: 'M2 5h10M9 2l3 3-3 3M14 11H4M7 8l-3 3 3 3',
    columns: 'M2 3h12v10H2ZM6 3v10M10 3v10',
};

export function icon(name, more = '') {
    if (name === 'running')
        return el('span', { class: 'spinner', 'aria-hidden': 'true' });
    return el('svg', { class: `icon ${more}`, viewBox: '0 0 16 16', 'aria-hidden': 'true' }, el('path', { d: PATHS[name] }));
}
