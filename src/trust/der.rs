//! DER (ITU-T X.690): a strict reader, and the few encoders that keystores need.
//!
//! The reader accepts what Go's `cryptobyte` accepts: one-byte tags, minimal definite lengths of at most four octets,
//! minimal integers and object identifiers. Each method returns `None` on the first deviation; the caller names the
//! part in its error.

/// Identifier octets of the types that certificates and keystores use.
pub(super) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const NUMERIC_STRING: u8 = 0x12;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const T61_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// Tag `[n]` of primitive content.
    pub(crate) const fn context(n: u8) -> u8 {
        0x80 | n
    }

    /// Tag `[n]` of constructed content.
    pub(crate) const fn explicit(n: u8) -> u8 {
        0xa0 | n
    }
}

/// Unread rest of some DER content.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Creates a reader of DER from its beginning.
    pub(super) fn new(der: &'a [u8]) -> Reader<'a> {
        Reader(der)
    }

    /// Returns whether everything has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the octets that have not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Returns whether the next element has this tag.
    pub(super) fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// Reads the next element: its tag, its content, and the whole of it.
    fn split(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let octets = usize::from(first & 0x7f);
            if octets == 0 || octets > 4 {
                return None;
            }
            let (length, after) = rest.split_at_checked(octets)?;
            rest = after;
            let length = length.iter().fold(0, |sum, &octet| sum << 8 | usize::from(octet));
            let minimal = length >= 0x80 && length >> (8 * (octets - 1)) != 0;
            minimal.then_some(length)?
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let (whole, _) = self.0.split_at(self.0.len() - rest.len());
        self.0 = rest;
        Some((tag, content, whole))
    }

    /// Reads the next element of any tag: its tag and content.
    pub(super) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        self.split().map(|(tag, content, _)| (tag, content))
    }

    /// Reads the next element of any tag: header and content.
    pub(super) fn any_whole(&mut self) -> Option<&'a [u8]> {
        self.split().map(|(_, _, whole)| whole)
    }

    /// Reads the content of the next element, which must have this tag.
    pub(super) fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().and_then(|(found, content)| (found == tag).then_some(content))
    }

    /// Returns a reader for the content of the next element, which must have this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.content(tag).map(Reader)
    }

    /// Like [`enter`](Reader::enter), but returns an empty reader if another element or none follows.
    pub(super) fn enter_if(&mut self, tag: u8) -> Option<Reader<'a>> {
        if self.next_is(tag) { self.enter(tag) } else { Some(Reader(&[])) }
    }

    /// Reads the octets of an INTEGER: at least one, two's complement, minimal.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        self.integer_as(tag::INTEGER)
    }

    /// Reads an [`integer`](Reader::integer) under another tag.
    pub(super) fn integer_as(&mut self, tag: u8) -> Option<&'a [u8]> {
        let octets = self.content(tag)?;
        let padded = match octets {
            [] => return None,
            [0, next, ..] => next & 0x80 == 0,
            [0xff, next, ..] => next & 0x80 != 0,
            _ => false,
        };
        (!padded).then_some(octets)
    }

    /// Reads the content of an OBJECT IDENTIFIER, each of whose arcs fits 31 bits.
    pub(super) fn oid(&mut self) -> Option<&'a [u8]> {
        let content = self.content(tag::OID)?;
        oid_arcs(content).map(|_| content)
    }

    /// Reads a BOOLEAN: 0x00 or 0xff.
    pub(super) fn boolean(&mut self) -> Option<bool> {
        match self.content(tag::BOOLEAN)? {
            [0] => Some(false),
            [0xff] => Some(true),
            _ => None,
        }
    }

    /// Reads a BIT STRING: the number of unused bits (0 to 7, each of them zero) and the octets.
    pub(super) fn bits(&mut self) -> Option<(u8, &'a [u8])> {
        let (&unused, octets) = self.content(tag::BIT_STRING)?.split_first()?;
        let last = octets.last().copied().unwrap_or(0);
        let valid = unused == 0 || unused < 8 && !octets.is_empty() && last.trailing_zeros() >= u32::from(unused);
        valid.then_some((unused, octets))
    }
}

/// Decodes the arcs of an object identifier from the content of its element.
pub(super) fn oid_arcs(content: &[u8]) -> Option<Vec<u32>> {
    let mut arcs = Vec::with_capacity(content.len() + 1);
    let mut rest = content;
    while let Some(end) = rest.iter().position(|octet| octet & 0x80 == 0) {
        let (arc, after) = rest.split_at(end + 1);
        rest = after;
        if arc[0] == 0x80 {
            return None;
        }
        let mut value = 0_u32;
        for octet in arc {
            if value >= 1 << 24 {
                return None;
            }
            value = value << 7 | u32::from(octet & 0x7f);
        }
        if arcs.is_empty() {
            let root = (value / 40).min(2);
            arcs.extend([root, value - root * 40]);
        } else {
            arcs.push(value);
        }
    }
    (rest.is_empty() && !arcs.is_empty()).then_some(arcs)
}

/// Returns whether this is the content of an object identifier, whose arcs may have any size.
pub(super) fn is_oid(content: &[u8]) -> bool {
    let ended = |octet: &u8| octet & 0x80 == 0;
    let mut pairs = std::iter::once(&0).chain(content).zip(content);
    content.last().is_some_and(ended) && pairs.all(|(before, octet)| !(ended(before) && *octet == 0x80))
}

/// Formats an object identifier that [`Reader::oid`] accepted: its arcs between dots.
pub(super) fn dotted(oid: &[u8]) -> String {
    oid_to_string(oid).expect("checked when it was read")
}

/// Formats the content of an object identifier: its arcs between dots; `None` unless each arc fits 31 bits.
#[must_use]
pub fn oid_to_string(content: &[u8]) -> Option<String> {
    let arcs = oid_arcs(content)?;
    Some(arcs.iter().map(u32::to_string).collect::<Vec<_>>().join("."))
}

/// Encodes one element: `tag`, length, and the concatenation of `parts`.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    enclose(tag, parts, Vec::new())
}

/// Encodes an [`element`] whose last part is large and moved to its place instead of copied.
pub(super) fn enclose(tag: u8, parts: &[&[u8]], mut last: Vec<u8>) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>() + last.len();
    let mut front = Vec::with_capacity(length - last.len() + 6);
    front.push(tag);
    if length < 0x80 {
        front.push(length.to_le_bytes()[0]);
    } else {
        let octets = length.to_be_bytes();
        let significant = &octets[length.leading_zeros() as usize / 8..];
        front.push(0x80 | significant.len().to_le_bytes()[0]);
        front.extend_from_slice(significant);
    }
    for part in parts {
        front.extend_from_slice(part);
    }
    if last.is_empty() {
        return front;
    }
    last.splice(..0, front);
    last
}

/// Encodes an INTEGER below 2^15.
pub(super) fn small_integer(value: u16) -> Vec<u8> {
    let octets = value.to_be_bytes();
    let skip = usize::from(value < 0x80);
    element(tag::INTEGER, &[&octets[skip..]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_minimal_lengths_and_low_tags_are_read() {
        let long = [&[0x04, 0x81, 0x80][..], &[7; 128]].concat();
        let accepted: [(&[u8], u8, usize); 3] =
            [(&[0x04, 0x00], 4, 0), (&[0x30, 0x02, 5, 0], 0x30, 2), (&long, 4, 128)];
        for (der, tag, length) in accepted {
            let (found, content) = Reader::new(der).any().unwrap();
            assert_eq!((found, content.len()), (tag, length));
        }
        let refused: [&[u8]; 8] = [
            &[],
            &[0x04],
            &[0x04, 0x01],
            &[0x1f, 0x01, 0x00],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x81, 0x01, 0x00],
            &[0x04, 0x82, 0x00, 0x80],
            &[0x04, 0x85, 0, 0, 0, 0, 1, 0],
        ];
        for der in refused {
            assert!(Reader::new(der).any().is_none(), "{der:x?}");
        }
    }

    #[test]
    fn integers_booleans_bit_strings_and_identifiers_have_one_form_each() {
        assert_eq!(Reader::new(&[2, 1, 0]).integer(), Some(&[0][..]));
        assert_eq!(Reader::new(&[2, 2, 0, 0x80]).integer(), Some(&[0, 0x80][..]));
        for der in [&[2, 0][..], &[2, 2, 0, 1], &[2, 2, 0xff, 0x80]] {
            assert_eq!(Reader::new(der).integer(), None);
        }
        assert_eq!(Reader::new(&[1, 1, 0xff]).boolean(), Some(true));
        assert_eq!(Reader::new(&[1, 1, 1]).boolean(), None);
        assert_eq!(Reader::new(&[3, 2, 3, 0xf8]).bits(), Some((3, &[0xf8][..])));
        for der in [&[3, 0][..], &[3, 1, 1], &[3, 2, 8, 0], &[3, 2, 3, 0xfc]] {
            assert_eq!(Reader::new(der).bits(), None);
        }
        assert_eq!(oid_arcs(&[0x55, 4, 3]), Some(vec![2, 5, 4, 3]));
        assert_eq!(oid_arcs(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]), Some(vec![1, 2, 840, 113_549]));
        assert_eq!(oid_arcs(&[0x88, 0x37]), Some(vec![2, 999]));
        for content in [&[][..], &[0x55, 0x80, 1], &[0x55, 0x81], &[0x55, 0x90, 0x80, 0x80, 0x80, 0]] {
            assert_eq!(oid_arcs(content), None, "{content:x?}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![9; length];
            let der = element(tag::OCTET_STRING, &[&content]);
            assert_eq!(Reader::new(&der).content(tag::OCTET_STRING), Some(&content[..]));
        }
        for value in [0, 1, 127, 128, 2048] {
            let der = small_integer(value);
            let octets = Reader::new(&der).integer().unwrap();
            assert_eq!(octets.iter().fold(0, |sum, &octet| sum << 8 | u16::from(octet)), value);
        }
    }
}
