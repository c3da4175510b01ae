//! Random values for the tests of the executors: text that SQL and JSON can hold.

/// Characters that some quoting, escaping or encoding may get wrong.
const CHARACTERS: [char; 24] = [
    'a',
    'B',
    '7',
    ' ',
    '\'',
    '"',
    '\\',
    ',',
    '{',
    '}',
    '(',
    ')',
    '\n',
    '\t',
    '\r',
    '\u{1}',
    '%',
    '$',
    'é',
    'ß',
    '日',
    '\u{2028}',
    '\u{1f980}',
    '\u{10ffff}',
];

/// A small generator (SplitMix64): the same seed makes the same values.
pub(super) struct Dice {
    state: u64,
    cases: Option<usize>,
}

impl Dice {
    /// Seeded by `BULKHEAD_SEED`; `BULKHEAD_VALUES` says how many values of each type.
    pub(super) fn from_environment() -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let seed = number("BULKHEAD_SEED").unwrap_or(1);
        eprintln!("BULKHEAD_SEED={seed}");
        Self {
            state: seed,
            cases: number("BULKHEAD_VALUES").map(|cases| cases as usize),
        }
    }

    pub(super) fn cases(&self, default: usize) -> usize {
        self.cases.unwrap_or(default)
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Any 64 bits, the ends of the range more often than by chance.
    pub(super) fn int(&mut self) -> i64 {
        match self.below(10) {
            0 => [
                i64::MIN,
                i64::MAX,
                0,
                -1,
                i64::from(i32::MAX),
                i64::from(i32::MIN),
            ][self.below(6)],
            1 => self.small(),
            _ => self.next() as i64,
        }
    }

    pub(super) fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(super) fn small(&mut self) -> i64 {
        self.below(2001) as i64 - 1000
    }

    pub(super) fn pick(&mut self, texts: &[&str]) -> String {
        texts[self.below(texts.len())].to_owned()
    }

    pub(super) fn text(&mut self) -> String {
        (0..self.below(30))
            .map(|_| CHARACTERS[self.below(CHARACTERS.len())])
            .collect()
    }

    pub(super) fn word(&mut self, chars_max: usize) -> String {
        let letter = |dice: &mut Self| char::from(b'a' + dice.below(26) as u8);
        (0..=self.below(chars_max)).map(|_| letter(self)).collect()
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count)
            .map(|_| char::from(b'0' + self.below(10) as u8))
            .collect()
    }

    pub(super) fn decimal(&mut self, whole: usize, fraction: usize) -> String {
        let sign = self.pick(&["", "-"]);
        let (whole, fraction) = (self.digits(whole), self.digits(fraction));
        let number = if fraction.is_empty() {
            format!("1{whole}")
        } else {
            format!("0{whole}.{fraction}")
        };
        format!("{sign}{number}")
    }

    pub(super) fn hex(&mut self, bytes_max: usize) -> String {
        (0..self.below(bytes_max))
            .map(|_| format!("{:02x}", self.below(256)))
            .collect()
    }

    /// `12:34:56.000001`
    pub(super) fn clock(&mut self, hours: usize) -> String {
        let clock = format!(
            "{:02}:{:02}:{:02}",
            self.below(hours),
            self.below(60),
            self.below(60)
        );
        match self.below(3) {
            0 => clock,
            1 => format!("{clock}.{:06}", self.below(1_000_000)),
            _ => format!("{clock}.{:03}", self.below(1_000)),
        }
    }

    pub(super) fn offset(&mut self) -> String {
        format!(
            "{}{:02}:{:02}",
            self.pick(&["+", "-"]),
            self.below(14),
            self.below(4) * 15
        )
    }

    pub(super) fn address(&mut self, with_prefix: bool) -> String {
        let four = format!(
            "{}.{}.0.{}",
            self.below(256),
            self.below(256),
            self.below(256)
        );
        let six = format!("fe80::{:x}:{:x}:1", self.below(65_536), self.below(65_536));
        match self.below(3) {
            0 if with_prefix => format!("{four}/{}", self.below(33)),
            1 => six,
            _ => four,
        }
    }

    /// `(1.5,-2),(0,1e+20)`
    pub(super) fn points(&mut self, count: usize) -> String {
        let number = |dice: &mut Self| match dice.below(4) {
            0 => format!("{:?}", dice.small() as f64 / 7.0),
            1 => dice.pick(&["1e+20", "-1e-10", "0", "123456789012345680"]),
            _ => dice.small().to_string(),
        };
        let points: Vec<_> = (0..count)
            .map(|_| format!("({},{})", number(self), number(self)))
            .collect();
        points.join(",")
    }

    pub(super) fn json(&mut self, depth: usize) -> String {
        let string = |text: String| serde_json::Value::from(text).to_string();
        match self.below(if depth == 0 { 4 } else { 6 }) {
            0 => string(self.text()),
            1 => self.pick(&["null", "true", "false", "-0.10", "1E400"]),
            2 => self.int().to_string(),
            3 => self.decimal(20, 20).replacen("0", "1", 1),
            4 => format!("[{} ,{}]", self.json(depth - 1), self.json(depth - 1)),
            _ => format!("{{{}: {}}}", string(self.text()), self.json(depth - 1)),
        }
    }
}
