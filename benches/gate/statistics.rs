//! Medians, and how far the rounds lay apart.

use std::fmt;

/// The median of some rounds, the least and the greatest.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

impl Spread {
    /// `None` where nothing was measured.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&values, 0.5),
            least: *values.first()?,
            greatest: *values.last()?,
        })
    }
}

/// `median (least–greatest)`; the precision is that of the format (`{:.1}`), else none after the point.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            median,
            least,
            greatest,
        } = self;
        let digits = f.precision().unwrap_or(0);
        write!(
            f,
            "{median:.digits$} ({least:.digits$}–{greatest:.digits$})"
        )
    }
}

/// The value below which so much of a sorted list lies: the nearest rank, so always one that was seen.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}
