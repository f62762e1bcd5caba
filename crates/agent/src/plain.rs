//! Words of others, as they may stand on a terminal and in a log: nothing in them moves a cursor or begins a line.

/// A text with what is not to be seen written out, cut after `limit` characters.
pub(crate) fn plain(text: &str, limit: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(limit));
    for (at, c) in text.chars().enumerate() {
        if at == limit {
            shown.push('…');
            break;
        }
        if is_unseen(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// Control characters, and those that end a line or turn the direction of writing (Unicode TR 36 §2.10.2).
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor_begins_a_line_or_turns_it_around() {
        let shown = plain("a\u{1b}[2J\r\nb\u{9b}\u{202e}é – ok", 100);
        assert_eq!(shown, r"a\u{1b}[2J\u{d}\u{a}b\u{9b}\u{202e}é – ok");
    }

    #[test]
    fn what_is_too_long_is_cut() {
        assert_eq!(plain("ééé", 2), "éé…");
        assert_eq!(plain("éé", 2), "éé");
    }
}
