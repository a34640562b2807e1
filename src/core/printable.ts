/** Text from files made safe to show: a name may hold what a terminal obeys, or what hides or turns round other text. */

/** What a terminal obeys, or what hides other text: controls, directions of writing, line separators, half characters. */
const hidden = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** Text from a file as one line that is safe to show: characters that are not to be seen become `\u001b`. */
export const printable = (text: string): string =>
  text.replace(hidden, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** The same of text in lines, which keeps their ends and its tabs. */
export const printableLines = (text: string): string =>
  text.replace(hidden, (c) => (c === '\n' || c === '\t' ? c : printable(c)));
