/* t(key, values…): the text in the viewer's language, {0} {1} … replaced. What is no key, as most of what a server says, comes as it is. */
import en from './en.js';
import de from './de.js';

export const LANGUAGES = { en: 'English', de: 'Deutsch' };
const texts = { en, de };

let language = 'en';

export function useLanguage(wanted) {
    language = texts[wanted] ? wanted : 'en';
    return language;
}

/* The first of the browser's languages that there is. */
export function languageOf(preferred) {
    const short = preferred.map((one) => one.slice(0, 2).toLowerCase());
    return short.find((one) => texts[one]) || 'en';
}

export const locale = () => language;

export function t(key, ...values) {
    const known = [texts[language], en].find((one) => Object.hasOwn(one, key));
    return known ? known[key].replace(/\{(\d)\}/g, (_, number) => values[number] ?? '') : String(key);
}
