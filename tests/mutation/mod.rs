//! Certificates that are nearly right: recorded ones and Mozilla's roots, with octets or DER elements changed.

#![allow(dead_code, reason = "each test uses its part")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rootcast::trust::pem;

/// The recorded certificates and Mozilla's roots.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/certs");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let recorded = paths.iter().filter_map(|path| pem::read(&std::fs::read(path).unwrap()).ok()).flatten();
    let mut seeds: Vec<Vec<u8>> = recorded.map(|block| block.certificate.unwrap().der().to_vec()).collect();
    seeds.push(everything());
    let rare = seeds.clone();
    seeds.extend(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| der.to_vec()));
    // The recorded ones are where the odd structures are.
    seeds.extend(rare.iter().cycle().take(200).cloned());
    seeds
}

/// A certificate with every extension that is checked.
pub(crate) fn everything() -> Vec<u8> {
    let text = include_bytes!("../trust_data/everything.pem");
    pem::read(text).unwrap().remove(0).certificate.unwrap().der().to_vec()
}

/// One to three octets changed, where structure is likelier than where keys and signatures are.
pub(crate) fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut der = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(3) {
        let at = match random.below(4) {
            0 => random.below(der.len()),
            _ => structural(&der, random),
        };
        match random.below(6) {
            0 => der[at] ^= 1 << random.below(8),
            1 => der[at] = [0, 1, 2, 3, 5, 6, 12, 19, 23, 24, 30, 48, 49, 128, 160, 255][random.below(16)],
            2 => der[at] = u8::try_from(random.below(256)).unwrap(),
            3 => der[at] = der[at].wrapping_add(1),
            4 => der[at] = der[random.below(der.len())],
            _ => der[at] = b"%:/@[]#?. *&\\\"09Zz+-"[random.below(20)],
        }
    }
    der
}

/// A place that is no part of a long run of content.
fn structural(der: &[u8], random: &mut Random) -> usize {
    let mut places = Vec::new();
    let mut at = 0;
    while at + 2 < der.len() {
        let length = match der[at + 1] {
            short @ 0..=0x7f => 2 + usize::from(short),
            0x81 => 3 + usize::from(der[at + 2]),
            0x82 if at + 3 < der.len() => 4 + (usize::from(der[at + 2]) << 8) + usize::from(der[at + 3]),
            _ => 2,
        };
        let inner = der[at] & 0x20 != 0 || der[at] == 4 && length < 200;
        let content = if length > 60 { at + 12 } else { at + length };
        places.extend(at..content.min(der.len()));
        at += if inner {
            if length > 257 {
                4
            } else if length > 130 {
                3
            } else {
                2
            }
        } else {
            length
        };
    }
    places.get(random.below(places.len().max(1))).copied().unwrap_or(0)
}

/// A certificate with one or two of its elements taken out, doubled, exchanged or given another tag or content, and
/// perhaps an extension added: unlike changed octets, that leaves all lengths right.
pub(crate) fn restructure(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut root = Element::read(&seeds[random.below(seeds.len())]).unwrap();
    if random.below(2) == 0
        && let Some(extensions) = root.extensions()
    {
        if random.below(2) == 0 {
            for extension in extensions.iter_mut() {
                extension.make_critical();
            }
        }
        if random.below(2) == 0 {
            extensions.push(extra_extension(random));
        }
    }
    for _ in 0..random.below(3) {
        let count = root.count();
        let at = random.below(count);
        root.change(at, random);
    }
    root.der()
}

/// A DER element; the elements in octet strings and bit strings count as its own.
#[derive(Clone)]
struct Element {
    tag: u8,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Octets(Vec<u8>),
    /// So many octets before the elements.
    Elements(Vec<u8>, Vec<Element>),
}

impl Element {
    fn read(der: &[u8]) -> Option<Element> {
        let (element, rest) = Element::split(der)?;
        rest.is_empty().then_some(element)
    }

    fn split(der: &[u8]) -> Option<(Element, &[u8])> {
        let (&[tag, first], rest) = der.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let before = match tag {
            _ if tag & 0x20 != 0 => Some(0),
            4 => Some(0),
            3 => Some(1),
            _ => None,
        };
        let elements = before.and_then(|before| {
            let (before, mut rest) = content.split_at_checked(before)?;
            let mut elements = Vec::new();
            while !rest.is_empty() {
                let (element, after) = Element::split(rest)?;
                elements.push(element);
                rest = after;
            }
            Some(Content::Elements(before.to_vec(), elements))
        });
        Some((Element { tag, content: elements.unwrap_or_else(|| Content::Octets(content.to_vec())) }, rest))
    }

    fn new(tag: u8, octets: &[u8]) -> Element {
        Element { tag, content: Content::Octets(octets.to_vec()) }
    }

    fn of(tag: u8, elements: Vec<Element>) -> Element {
        Element { tag, content: Content::Elements(Vec::new(), elements) }
    }

    fn der(&self) -> Vec<u8> {
        let content = match &self.content {
            Content::Octets(octets) => octets.clone(),
            Content::Elements(before, elements) => {
                [before.clone(), elements.iter().flat_map(Element::der).collect()].concat()
            }
        };
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        let header = match content.len() {
            0..=0x7f => vec![self.tag, length[3]],
            0x80..=0xff => vec![self.tag, 0x81, length[3]],
            0x100..=0xffff => vec![self.tag, 0x82, length[2], length[3]],
            _ => vec![self.tag, 0x83, length[1], length[2], length[3]],
        };
        [header, content].concat()
    }

    fn elements(&mut self) -> Option<&mut Vec<Element>> {
        match &mut self.content {
            Content::Elements(_, elements) => Some(elements),
            Content::Octets(_) => None,
        }
    }

    fn extensions(&mut self) -> Option<&mut Vec<Element>> {
        let tbs = self.elements()?.first_mut()?;
        let last = tbs.elements()?.last_mut().filter(|last| last.tag == 0xa3)?;
        last.elements()?.first_mut()?.elements()
    }

    fn make_critical(&mut self) {
        if let Some(fields) = self.elements()
            && fields.len() == 2
        {
            fields.insert(1, Element::new(1, &[0xff]));
        }
    }

    fn count(&self) -> usize {
        match &self.content {
            Content::Octets(_) => 1,
            Content::Elements(_, elements) => 1 + elements.iter().map(Element::count).sum::<usize>(),
        }
    }

    /// Changes the element at this place of the pre-order.
    fn change(&mut self, at: usize, random: &mut Random) {
        let elements = match &mut self.content {
            Content::Elements(_, elements) if at > 0 => elements,
            _ => return self.change_here(random),
        };
        let mut before = 1;
        for child in 0..elements.len() {
            let size = elements[child].count();
            if at == before && random.below(3) > 0 {
                let other = random.below(elements.len());
                match random.below(5) {
                    0 => drop(elements.remove(child)),
                    1 => elements.insert(child, elements[other].clone()),
                    2 => elements.swap(child, other),
                    3 => elements.insert(child, odd_element(random)),
                    _ => elements[child].change_here(random),
                }
                return;
            }
            if at < before + size {
                return elements[child].change(at - before, random);
            }
            before += size;
        }
    }

    fn change_here(&mut self, random: &mut Random) {
        match random.below(6) {
            0 => {
                self.tag =
                    [0x80, 0x81, 0x82, 0x86, 0x87, 0x88, 0xa0, 0xa1, 0xa2, 0xa4, 2, 3, 4, 12, 22, 48][random.below(16)];
            }
            1 => self.content = Content::Octets(Vec::new()),
            2 => match &mut self.content {
                Content::Octets(octets) => octets.truncate(random.below(octets.len().max(1))),
                Content::Elements(_, elements) => elements.truncate(random.below(elements.len().max(1))),
            },
            3 => match &mut self.content {
                Content::Octets(octets) => octets.extend_from_slice(&b"\x01\xff.:/@ \x80"[..random.below(9)]),
                Content::Elements(_, elements) => elements.push(odd_element(random)),
            },
            4 => self.content = odd_element(random).content,
            _ => {
                if let Content::Octets(octets) = &mut self.content
                    && !octets.is_empty()
                {
                    let at = random.below(octets.len());
                    octets[at] = u8::try_from(random.below(256)).unwrap();
                }
            }
        }
    }
}

fn odd_element(random: &mut Random) -> Element {
    let time = |text: &str, tag| Element::new(tag, text.as_bytes());
    match random.below(24) {
        0 => Element::new(5, &[]),
        1 => Element::new(2, &[0]),
        2 => Element::new(2, &[0x7f, 0xff, 0xff, 0xff, 0xff]),
        3 => Element::new(2, &[0xff]),
        4 => Element::new(1, &[0xff]),
        5 => Element::new(12, b""),
        6 => Element::new(6, &[0x55, 29, 17]),
        7 => Element::new(0x30, &[]),
        8 => Element::new(0x31, &[]),
        9 => Element::new(0x86, b"urn:x:y"),
        10 => Element::new(0x86, b"no scheme"),
        11 => Element::new(0x82, b"-a..b"),
        12 => Element::new(0x87, &[1, 2, 3]),
        13 => Element::new(0x80, &[1]),
        14 => Element::new(0x81, &[0, 1]),
        15 => Element::new(0x81, b"@"),
        16 => time("0001010000Z", 23),
        17 => time("000101000000+2400", 23),
        18 => time("20000230000000Z", 24),
        19 => time("000101000000-0130", 23),
        20 => Element::of(0xa0, vec![Element::new(2, &[1])]),
        21 => Element::of(0xa1, vec![Element::new(0x82, b"x")]),
        22 => Element::new(3, &[7, 0x80]),
        _ => Element::new(4, &[4, 1, 1]),
    }
}

/// A critical extension that other programs know, with a value that may be right.
fn extra_extension(random: &mut Random) -> Element {
    const OIDS: [&[u8]; 20] = [
        &[0x55, 29, 15],
        &[0x55, 29, 16],
        &[0x55, 29, 17],
        &[0x55, 29, 18],
        &[0x55, 29, 19],
        &[0x55, 29, 20],
        &[0x55, 29, 21],
        &[0x55, 29, 27],
        &[0x55, 29, 28],
        &[0x55, 29, 29],
        &[0x55, 29, 30],
        &[0x55, 29, 31],
        &[0x55, 29, 32],
        &[0x55, 29, 33],
        &[0x55, 29, 36],
        &[0x55, 29, 37],
        &[0x55, 29, 46],
        &[0x55, 29, 54],
        &[0x2b, 6, 1, 5, 5, 7, 1, 11],
        &[0x60, 0x86, 0x48, 1, 0x86, 0xf8, 0x42, 1, 1],
    ];
    let mut value = match random.below(8) {
        0 => odd_element(random),
        1 => Element::of(0x30, Vec::new()),
        2 => Element::of(0x30, vec![odd_element(random)]),
        3 => Element::of(0x30, vec![odd_element(random), odd_element(random)]),
        4 => Element::of(0x30, vec![Element::of(0x30, vec![odd_element(random), odd_element(random)])]),
        5 => Element::of(0x30, vec![Element::of(0xa0, vec![Element::of(0x30, vec![odd_element(random)])])]),
        6 => Element::new(10, &[1]),
        _ => Element::of(0x30, vec![Element::of(0xa0, vec![Element::of(0xa0, vec![odd_element(random)])])]),
    }
    .der();
    if random.below(8) == 0 {
        value.push(0);
    }
    Element::of(0x30, vec![Element::new(6, OIDS[random.below(20)]), Element::new(1, &[0xff]), Element::new(4, &value)])
}

/// Xorshift: the same certificates in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut digits, octet| {
        write!(digits, "{octet:02x}").unwrap();
        digits
    })
}

/// Runs a program that answers each line of its input with a line.
pub(crate) fn ask(command: &mut Command, lines: String) -> Vec<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
