/* Language, colours, who is logged in. */
import { el } from '../parts/dom.js';
import { LANGUAGES, locale, t } from '../words/words.js';

const THEMES = ['auto', 'light', 'dark'];

function choice(label, value, options, chosen) {
    return el('label', null, el('span', { class: 'unseen' }, label),
        el('select', { value, 'aria-label': label, onChange: (event) => chosen(event.target.value) },
            options.map(([key, text]) => el('option', { value: key, selected: key === value }, text))));
}

export function toolbar({ theme, useTheme, speak, session, leave }) {
    return el('div', { class: 'settings' },
        choice(t('language'), locale(), Object.entries(LANGUAGES), speak),
        choice(t('theme'), theme, THEMES.map((one) => [one, t(`theme.${one}`)]), useTheme),
        session ? el('span', { class: 'who' }, session.user) : null,
        session ? el('button', { type: 'button', onClick: leave }, t('logout')) : null);
}
