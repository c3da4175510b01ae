//! The two files: a whole trail (`bulkhead audit export`), and the seals that sidecars keep outside of the database. Both
//! are JSON, a line each.

use serde::{Deserialize, Serialize};

use super::fault::{Fault, Kind};
use super::row::Row;
use super::seal::{Head, Seal};
use super::text::Micros;
use super::verify::{Report, Settings, Verifier};

/// The format's number; another one is refused.
pub const VERSION: u32 = 1;

/// A line of an exported trail: the header first, heads, retirements, seals, rows by chain and place, the end.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Header(Header),
    Head(Head),
    /// A row that stands among the rows, too; rows before it may be gone because of it.
    Retirement(Box<Row>),
    Seal(Seal),
    Row(Box<Row>),
    End(End),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub version: u32,
    pub exported_at: Micros,
    /// Of which time the rows are; a file without either holds all.
    pub since: Option<Micros>,
    pub until: Option<Micros>,
}

impl Header {
    pub const fn is_part(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }
}

/// What tells that a file is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    pub rows: u64,
}

/// Verifies an exported trail, line by line.
pub struct Offline {
    settings: Option<Settings>,
    exported: Vec<Seal>,
    verifier: Option<Verifier>,
    rows: u64,
    /// `Some` once the end has come.
    told: Option<u64>,
    pub header: Option<Header>,
}

impl Offline {
    /// `exported`: the seals of the other file.
    pub fn new(settings: Settings, exported: Vec<Seal>) -> Self {
        Self {
            settings: Some(settings),
            exported,
            verifier: None,
            rows: 0,
            told: None,
            header: None,
        }
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// When the file does not begin as an exported trail.
    pub fn line(&mut self, number: u64, text: &str) -> Result<(), String> {
        let line = serde_json::from_str::<Line>(text);
        let Some(verifier) = &mut self.verifier else {
            let Ok(Line::Header(header)) = line else {
                return Err("not an exported audit trail: it begins with another line".into());
            };
            return self.begin(header);
        };
        match line {
            Ok(line) if self.told.is_some() || matches!(line, Line::Header(_)) => {
                let what = format!("line {number} does not belong there");
                verifier.fault(file_fault(what));
            }
            // What is known of the rows comes before them: behind them nothing would be compared with it.
            Ok(line) if self.rows > 0 && !matches!(line, Line::Row(_) | Line::End(_)) => {
                let what = format!("line {number} belongs before the rows");
                verifier.fault(file_fault(what));
            }
            Ok(line) => {
                self.rows += u64::from(matches!(line, Line::Row(_)));
                if let Line::End(end) = &line {
                    self.told = Some(end.rows);
                }
                verifier.line(line);
            }
            Err(error) => {
                let what = format!("line {number} cannot be read: {error}");
                verifier.fault(file_fault(what));
            }
        }
        Ok(())
    }

    fn begin(&mut self, header: Header) -> Result<(), String> {
        if header.version != VERSION {
            return Err(format!(
                "the file is of version {}, this program reads {VERSION}",
                header.version
            ));
        }
        let mut settings = self.settings.take().unwrap_or_default();
        settings.is_part = header.is_part();
        let mut verifier = Verifier::new(settings);
        for seal in std::mem::take(&mut self.exported) {
            verifier.exported(&seal);
        }
        self.verifier = Some(verifier);
        self.header = Some(header);
        Ok(())
    }

    /// To be called when every line has come; `None` where there was none.
    pub fn finish(self) -> Option<Report> {
        let mut verifier = self.verifier?;
        match self.told {
            None => verifier.fault(file_fault("it ends without its last line".into())),
            Some(rows) if rows != self.rows => verifier.fault(file_fault(format!(
                "its last line tells of {rows} rows, and it has {}",
                self.rows
            ))),
            Some(_) => {}
        }
        Some(verifier.finish())
    }
}

fn file_fault(what: String) -> Fault {
    Fault {
        kind: Kind::File,
        chain: None,
        seq: None,
        id: None,
        seal: None,
        what,
    }
}

/// Reads the file of exported seals. A line that a crash has cut short is written again in full after it.
#[derive(Debug, Default)]
pub struct SealLines {
    cut: Option<(u64, String)>,
}

impl SealLines {
    /// `None` for a line that was cut.
    ///
    /// # Errors
    /// When the line before is no seal, nor the beginning of this one.
    pub fn line(&mut self, number: u64, text: &str) -> Result<Option<Seal>, String> {
        if let Some((number, cut)) = self.cut.take()
            && !text.starts_with(&cut)
            && !cut.starts_with(text)
        {
            return Err(no_seal(number));
        }
        match serde_json::from_str(text) {
            Ok(seal) => Ok(Some(seal)),
            Err(_) => {
                self.cut = Some((number, text.to_owned()));
                Ok(None)
            }
        }
    }
}

fn no_seal(number: u64) -> String {
    format!("line {number} of the file of exported seals is no seal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_is_passed_over_where_it_comes_again() {
        let seal = Seal::new(None, Micros(1), None, &[], None);
        let line = serde_json::to_string(&seal).unwrap();
        let cut = &line[..30];
        let mut lines = SealLines::default();
        assert_eq!(lines.line(1, cut), Ok(None));
        assert_eq!(lines.line(2, &line), Ok(Some(seal.clone())));
        assert_eq!(lines.line(3, &line), Ok(Some(seal)));
        assert_eq!(lines.line(4, "{\"seal\":9"), Ok(None));
        assert!(lines.line(5, &line).unwrap_err().contains("line 4"));
    }

    #[test]
    fn a_file_says_what_it_is_and_where_it_ends() {
        let header = r#"{"header":{"version":1,"exported_at":"2026-01-01T00:00:00Z","since":null,"until":null}}"#;
        let check = |lines: &[&str], expected: Result<&[&str], &str>| {
            let mut file = Offline::new(Settings::default(), Vec::new());
            let mut failed = None;
            for (number, line) in (1..).zip(lines) {
                if let Err(error) = file.line(number, line) {
                    failed = Some(error);
                    break;
                }
            }
            match (failed, expected) {
                (Some(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (None, Ok(faults)) => {
                    let report = file.finish().unwrap();
                    let found: Vec<_> = report.faults.iter().map(ToString::to_string).collect();
                    assert_eq!(found, faults);
                }
                (failed, expected) => panic!("{failed:?} {expected:?}"),
            }
        };
        check(&[header, r#"{"end":{"rows":0}}"#], Ok(&[]));
        check(&[header], Ok(&["file: it ends without its last line"]));
        check(
            &[header, r#"{"end":{"rows":2}}"#],
            Ok(&["file: its last line tells of 2 rows, and it has 0"]),
        );
        check(
            &[header, header, r#"{"end":{"rows":0}}"#],
            Ok(&["file: line 2 does not belong there"]),
        );
        check(&["{}"], Err("not an exported audit trail"));
        let newer = header.replace("\"version\":1", "\"version\":2");
        check(&[&newer], Err("of version 2"));
    }
}
