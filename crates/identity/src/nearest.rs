//! The word that was probably meant.

/// The known word most like `found`, if any is near enough to have been meant: of every three characters one may be
/// wrong, and one more. A guess further off than that misleads.
///
/// ```
/// use countersign_identity::nearest;
///
/// assert_eq!(nearest("livetime", ["lifetime", "renew"]), Some("lifetime"));
/// assert_eq!(nearest("colour", ["lifetime", "renew"]), None);
/// ```
#[must_use]
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let tolerance = 1 + found.chars().count() / 3;
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(found, word), word))
        .filter(|(distance, _)| *distance <= tolerance)
        .min()
        .map(|(_, word)| word)
}
