//! What is wrong with a policy: every fault of every file, each with its place and its mend.

use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use super::source::{Place, Sources, Span};

/// Farthest a name may be from what was written to be suggested, as a share of its length: one letter in three.
const SUGGESTION_LETTERS_PER_MISTAKE: usize = 3;

/// Most names that are listed where none is near.
const SUGGESTION_NAMES_MAX: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy is accepted, and something in it does nothing.
    Warning,
}

/// One fault.
#[derive(Debug, Clone)]
pub struct Fault {
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    pub place: Place,
    span: Span,
    source: Option<Arc<NamedSource<String>>>,
}

impl PartialEq for Fault {
    fn eq(&self, other: &Self) -> bool {
        (self.severity, &self.place, &self.message, &self.help)
            == (other.severity, &other.place, &other.message, &other.help)
    }
}

impl Eq for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Diagnostic for Fault {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        let source = self.source.as_ref()?;
        Some(source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = LabeledSpan::new(None, self.span.range.start, self.span.range.len());
        Some(Box::new(std::iter::once(span)))
    }
}

/// Everything that is wrong with a policy, in the order of its files and lines. Has one error or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFaults(pub Vec<Fault>);

impl fmt::Display for PolicyFaults {
    /// One line a fault, for logs: `file:line:column: what (what to write)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}: {}", fault.place, fault.message)?;
            if let Some(help) = &fault.help {
                write!(f, " ({help})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for PolicyFaults {}

/// Collects faults while a policy is read and compiled.
#[derive(Debug)]
pub(super) struct Faults {
    sources: Sources,
    found: Vec<Fault>,
}

impl Faults {
    pub(super) const fn new(sources: Sources) -> Self {
        Self {
            sources,
            found: Vec::new(),
        }
    }

    /// A fault that refuses the policy: what is wrong, and what to write instead (may be empty).
    pub(super) fn error(&mut self, span: &Span, message: String, help: impl Into<String>) {
        self.add(Severity::Error, span, message, help.into());
    }

    /// Something that does nothing, and that its writer probably did not mean.
    pub(super) fn warning(&mut self, span: &Span, message: String, help: impl Into<String>) {
        self.add(Severity::Warning, span, message, help.into());
    }

    pub(super) fn place(&self, span: &Span) -> Place {
        self.sources.place(span)
    }

    pub(super) fn errors(&self) -> usize {
        let errors = self.found.iter().filter(|f| f.severity == Severity::Error);
        errors.count()
    }

    /// Leaves out the faults from index `from` on that stand on a line with a fault before that index: what
    /// follows from broken syntax says nothing new.
    pub(super) fn forget_echoes(&mut self, from: usize) {
        let rest = self.found.split_off(from.min(self.found.len()));
        let broken: Vec<(String, usize)> = self
            .found
            .iter()
            .map(|fault| (fault.place.file.clone(), fault.place.line))
            .collect();
        self.found.extend(rest.into_iter().filter(|fault| {
            !broken
                .iter()
                .any(|(file, line)| (file, *line) == (&fault.place.file, fault.place.line))
        }));
    }

    /// Whether no fault lies within `span`.
    pub(super) fn is_untouched(&self, span: &Span) -> bool {
        !self.found.iter().any(|fault| {
            fault.span.file == span.file
                && span.range.start <= fault.span.range.start
                && fault.span.range.end <= span.range.end
        })
    }

    pub(super) const fn len(&self) -> usize {
        self.found.len()
    }

    /// The warnings where there is no error, otherwise all faults.
    pub(super) fn finish(mut self) -> Result<Vec<Fault>, PolicyFaults> {
        self.found
            .sort_by_key(|fault| (fault.span.file, fault.span.range.start));
        if self.errors() == 0 {
            Ok(self.found)
        } else {
            Err(PolicyFaults(self.found))
        }
    }

    fn add(&mut self, severity: Severity, span: &Span, message: String, help: String) {
        self.found.push(Fault {
            severity,
            message,
            help: (!help.is_empty()).then_some(help),
            place: self.sources.place(span),
            span: span.clone(),
            source: self.sources.named(span.file),
        });
    }
}

/// Known names that a misspelt one is compared with: a policy of thousands may misspell thousands.
const NAMES_COMPARED_MAX: usize = 500;

/// The known name that was most probably meant.
pub(super) fn nearest<'n>(
    written: &str,
    known: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let likely = known
        .into_iter()
        .take(NAMES_COMPARED_MAX)
        .filter_map(|name| {
            let letters = written.len().max(name.len());
            let mistakes_max = (letters / SUGGESTION_LETTERS_PER_MISTAKE).max(1);
            if written.eq_ignore_ascii_case(name) {
                return Some((0, name));
            }
            // A character is up to four bytes.
            if written.len().abs_diff(name.len()) > 4 * mistakes_max {
                return None;
            }
            let mistakes = strsim::osa_distance(written, name);
            (mistakes <= mistakes_max).then_some((mistakes, name))
        });
    likely.min().map(|(_, name)| name)
}

/// "did you mean `x`?", or else the names there are.
pub(super) fn did_you_mean<'n>(
    written: &str,
    known: impl IntoIterator<Item = &'n str> + Clone,
) -> String {
    if let Some(name) = nearest(written, known.clone()) {
        return format!("did you mean `{name}`?");
    }
    let mut known = known.into_iter();
    let some: Vec<&str> = known.by_ref().take(SUGGESTION_NAMES_MAX).collect();
    match (some.as_slice(), known.next()) {
        ([], _) => String::new(),
        ([only], None) => format!("write `{only}`"),
        (all, None) => format!("write one of `{}`", all.join("`, `")),
        (_, Some(_)) => String::new(),
    }
}
