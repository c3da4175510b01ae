use proptest::prelude::*;

use super::*;

/// The server's own algorithm, written after `stringmatchlen` in Redis' `util.c`, kept as near to the C as
/// safe Rust allows: the reference that [`Glob`] is held against.
fn server_matches(pattern: &[u8], string: &[u8]) -> bool {
    let at = |bytes: &[u8], i: usize| bytes.get(i).copied().unwrap_or(0);
    let (mut p, mut s) = (0, 0);
    while p < pattern.len() && s < string.len() {
        match pattern[p] {
            b'*' => {
                while at(pattern, p + 1) == b'*' {
                    p += 1;
                }
                if p + 1 == pattern.len() {
                    return true;
                }
                return (s..=string.len())
                    .any(|from| server_matches(&pattern[p + 1..], &string[from..]));
            }
            b'?' => s += 1,
            b'[' => {
                let found;
                (found, p) = server_class(pattern, p + 1, string[s]);
                if !found {
                    return false;
                }
                s += 1;
            }
            other => {
                let mut wanted = other;
                if other == b'\\' && pattern.len() - p >= 2 {
                    p += 1;
                    wanted = pattern[p];
                }
                if wanted != string[s] {
                    return false;
                }
                s += 1;
            }
        }
        p += 1;
        if s == string.len() {
            while at(pattern, p) == b'*' {
                p += 1;
            }
            break;
        }
    }
    p >= pattern.len() && s == string.len()
}

/// The class that begins at `p`: whether it has `byte`, and where its `]` stands.
fn server_class(pattern: &[u8], mut p: usize, byte: u8) -> (bool, usize) {
    let at = |i: usize| pattern.get(i).copied().unwrap_or(0);
    let not = at(p) == b'^';
    if not {
        p += 1;
    }
    let mut found = false;
    loop {
        let left = pattern.len().saturating_sub(p);
        if left >= 2 && pattern[p] == b'\\' {
            p += 1;
            found |= pattern[p] == byte;
        } else if at(p) == b']' {
            break;
        } else if left == 0 {
            p -= 1;
            break;
        } else if left >= 3 && pattern[p + 1] == b'-' {
            let (a, b) = (pattern[p] as i8, pattern[p + 2] as i8);
            p += 2;
            found |= (a.min(b)..=a.max(b)).contains(&(byte as i8));
        } else {
            found |= pattern[p] == byte;
        }
        p += 1;
    }
    (found != not, p)
}

/// Every string of at most `max` letters.
fn strings(letters: &[u8], max: usize) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    let mut last = all.clone();
    for _ in 0..max {
        last = last
            .iter()
            .flat_map(|s| {
                letters.iter().map(|letter| {
                    let mut s = s.clone();
                    s.push(*letter);
                    s
                })
            })
            .collect();
        all.extend(last.iter().cloned());
    }
    all
}

#[test]
fn matches_as_the_server_documents() {
    for (pattern, key, expected) in [
        ("h?llo", "hello", true),
        ("h?llo", "hllo", false),
        ("h*llo", "heeeello", true),
        ("h[ae]llo", "hillo", false),
        ("h[^e]llo", "hallo", true),
        ("h[^e]llo", "hello", false),
        ("h[a-b]llo", "hbllo", true),
        (r"h\*llo", "h*llo", true),
        (r"h\*llo", "hello", false),
        ("*", "", true),
        ("a*b*c", "a--b--b-c", true),
        ("a*b*c", "a--b--b-", false),
        ("A", "a", false),
        (r"[\]]", "]", true),
        ("a**b", "ab", true),
    ] {
        let glob = Glob::strict(pattern).unwrap();
        assert_eq!(glob.matches(key.as_bytes()), expected, "{pattern} {key}");
    }
}

#[test]
fn a_policy_pattern_that_reads_oddly_is_a_fault() {
    for (pattern, expected) in [
        ("", GlobFault::Empty),
        (r"a\", GlobFault::TrailingBackslash),
        ("a[bc", GlobFault::ClassOpen),
        ("a[b-]", GlobFault::ClassOpen),
        (r"a[\", GlobFault::ClassOpen),
        ("a[]", GlobFault::ClassEmpty),
        ("a[^]b", GlobFault::ClassEmpty),
        ("a[z-a]", GlobFault::ClassReversed),
        ("a[é]", GlobFault::ClassNotAscii),
    ] {
        assert_eq!(Glob::strict(pattern), Err(expected), "{pattern}");
    }
}

#[test]
fn containment_of_patterns_that_are_not_prefixes() {
    for (outer, inner, expected) in [
        ("*", "?[a-z]*", true),
        ("*:*", "a:*", true),
        ("*:*", "a*", false),
        ("a*c", "a*b*c", true),
        ("a*b*c", "a*c", false),
        ("?*", "*?", true),
        ("*?", "?", true),
        ("?", "*?", false),
        ("[a-c]", "[ab]", true),
        ("[ab]", "[a-c]", false),
        ("[^x]*", "a*", true),
        ("[^x]*", "*", false),
        ("*a*", "*a", true),
        ("*aab*", "*aaaab", true),
    ] {
        let (o, i) = (Glob::strict(outer).unwrap(), Glob::strict(inner).unwrap());
        assert_eq!(o.contains(&i), expected, "{outer} ⊇ {inner}");
    }
}

#[test]
fn a_hard_containment_ends_with_no() {
    let outer = Glob::strict(&format!("*a{}", "?".repeat(40))).unwrap();
    let inner = Glob::lenient(&b"*[ab]".repeat(50)).unwrap();
    assert!(!outer.contains(&inner));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// On any bytes, a glob reads as the server reads it, or wider.
    #[test]
    fn never_narrower_than_the_server(pattern in r"[ab*?\[\]^\\\-]{0,7}") {
        let glob = Glob::lenient(pattern.as_bytes()).unwrap();
        for key in strings(b"ab]-\\", 3) {
            let server = server_matches(pattern.as_bytes(), &key);
            prop_assert!(!server || glob.matches(&key), "{pattern} {key:?}");
        }
    }

    /// Bytes beyond ASCII in a class are read wide, because their order depends on the server's processor.
    #[test]
    fn never_narrower_on_bytes(pattern in prop::collection::vec(prop::sample::select(
        vec![b'[', b']', b'^', b'-', b'\\', b'*', b'?', 0x00, b'a', 0x7f, 0x80, 0xff]), 0..7)) {
        let glob = Glob::lenient(&pattern).unwrap();
        for key in strings(&[0x00, b'a', 0x7f, 0x80, 0xff], 2) {
            prop_assert!(!server_matches(&pattern, &key) || glob.matches(&key), "{pattern:?} {key:?}");
        }
    }

    /// What the policy may say means to us what it means to the server (an empty key apart, which the server
    /// matches with no pattern).
    #[test]
    fn policy_patterns_mean_the_same(pattern in r"([ab*?:]|\[\^?[ab]\]|\[a-b\]|\\[*?a]){1,6}") {
        let glob = Glob::strict(&pattern).unwrap();
        for key in strings(b"ab:*?", 4).iter().filter(|key| !key.is_empty()) {
            prop_assert_eq!(glob.matches(key), server_matches(pattern.as_bytes(), key));
        }
    }

    /// Containment says yes only where no string is a counterexample, and says no only where there is one
    /// (the alphabet here has a letter that neither pattern names).
    #[test]
    fn containment_agrees_with_brute_force(
        outer in r"([ab*?]|\[ab\]|\[\^a\]){0,4}",
        inner in r"([ab*?]|\[ab\]|\[\^b\]){0,4}",
    ) {
        let (o, i) = (
            Glob::lenient(outer.as_bytes()).unwrap(),
            Glob::lenient(inner.as_bytes()).unwrap(),
        );
        let counterexample = strings(b"abz", 7).into_iter().find(|s| i.matches(s) && !o.matches(s));
        prop_assert_eq!(o.contains(&i), counterexample.is_none(), "{:?}", counterexample);
    }
}
