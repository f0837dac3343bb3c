//! `expected-differences.txt`: where the sandbox is known to differ, each line `case platform reason`.

/// The parsed list.
pub(crate) struct Expected(Vec<Line>);

struct Line {
    case: String,
    platform: String,
    reason: String,
}

impl Expected {
    /// Reads the list beside this crate's manifest. A line without a reason is an error.
    pub(crate) fn read() -> Self {
        let text = include_str!("../../expected-differences.txt");
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(Self::line).collect())
    }

    fn line(line: &str) -> Line {
        let mut words = line
            .splitn(3, char::is_whitespace)
            .map(|word| word.trim().to_owned());
        match (words.next(), words.next(), words.next()) {
            (Some(case), Some(platform), Some(reason)) if !reason.is_empty() => Line {
                case,
                platform,
                reason,
            },
            _ => panic!(
                "expected-differences.txt: \"{line}\" lacks a case, a platform (or `any`) or a reason"
            ),
        }
    }

    /// Why this case differs on this platform, if it is expected to.
    pub(crate) fn reason(&self, case: &str, platform: &str) -> Option<&str> {
        let matches = |line: &&Line| {
            line.case == case && (line.platform == platform || line.platform == "any")
        };
        self.0.iter().find(matches).map(|line| line.reason.as_str())
    }

    /// A line whose case does not exist.
    pub(crate) fn unknown_case(&self, cases: &[String]) -> Option<&str> {
        self.0
            .iter()
            .map(|line| line.case.as_str())
            .find(|name| !cases.iter().any(|case| case == name))
    }
}
