//! A fuzz corpus, replayed as a plain test.

use std::collections::BTreeSet;
use std::path::Path;

/// A fuzz target: its name, and what it does with one input.
pub type Target = (&'static str, fn(&[u8]));

/// Runs every seed in `fuzz/corpus/TARGET/` of a package through its target.
///
/// # Panics
/// When a seed breaks a promise of its target, or seeds and targets do not belong together.
pub fn replay(package: &str, targets: &[Target]) {
    let fuzz = Path::new(package).join("fuzz");
    let named: BTreeSet<String> = targets.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz.join("fuzz_targets")), named, "each target is replayed");
    assert_eq!(names(&fuzz.join("corpus")), named, "each target has seeds");
    for (name, run) in targets {
        let seeds = fuzz.join("corpus").join(name);
        for seed in std::fs::read_dir(seeds).expect("a folder of seeds") {
            let seed = seed.expect("a seed").path();
            let octets = std::fs::read(&seed).expect("a readable seed");
            let held = std::panic::catch_unwind(|| run(&octets));
            assert!(held.is_ok(), "{} breaks a promise of its target", seed.display());
        }
    }
}

/// The names in a folder, without the endings of files.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("a folder of the fuzz targets");
    let name = |entry: std::fs::DirEntry| {
        entry.path().file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    entries.map(|entry| name(entry.expect("an entry"))).collect()
}
