//! What a run left behind: every file below a directory, as lines that can be compared.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One line for each file below `directory`, in order of path: path, mode, owner, size and a hash of its content, or a link's target.
#[must_use]
pub fn describe(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk(directory, directory, &mut lines);
    lines.sort();
    lines
}

fn walk(top: &Path, directory: &Path, lines: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(directory) else {
        lines.push(format!("{} cannot be read", directory.display()));
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path
            .strip_prefix(top)
            .unwrap_or(&path)
            .display()
            .to_string();
        let Ok(about) = path.symlink_metadata() else {
            continue;
        };
        let owner = format!("{:o} {}:{}", about.mode(), about.uid(), about.gid());
        if about.is_dir() {
            lines.push(format!("{name}/ {owner}"));
            walk(top, &path, lines);
        } else if about.is_symlink() {
            lines.push(format!(
                "{name} -> {}",
                fs::read_link(&path).unwrap_or_default().display()
            ));
        } else if about.is_file() {
            let mut hasher = DefaultHasher::new();
            hasher.write(&fs::read(&path).unwrap_or_default());
            lines.push(format!(
                "{name} {owner} {} bytes {:016x}",
                about.len(),
                hasher.finish()
            ));
        } else {
            lines.push(format!("{name} {owner}"));
        }
    }
}
