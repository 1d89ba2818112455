//! Text of distinguished names, as Go's `pkix.Name.String()` formats them.

use std::fmt;

use super::verdict::name::{DistinguishedName, is_printable};
use crate::trust::der::{self, tag};

const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// Attribute types that have a name, in printing order.
///
/// If a common name or serial number occurs several times, the last is printed; of the other types all are.
const KNOWN: [(&[u8], &str, Repeat); 9] = [
    (&[0x55, 4, 5], "SERIALNUMBER", Repeat::Last),
    (COMMON_NAME, "CN", Repeat::Last),
    (&[0x55, 4, 11], "OU", Repeat::All),
    (&[0x55, 4, 10], "O", Repeat::All),
    (&[0x55, 4, 17], "POSTALCODE", Repeat::All),
    (&[0x55, 4, 9], "STREET", Repeat::All),
    (&[0x55, 4, 7], "L", Repeat::All),
    (&[0x55, 4, 8], "ST", Repeat::All),
    (&[0x55, 4, 6], "C", Repeat::All),
];

#[derive(PartialEq)]
enum Repeat {
    Last,
    All,
}

impl DistinguishedName<'_> {
    /// Returns the last common name, unless it is empty.
    pub(super) fn common_name(&self) -> Option<&str> {
        let last = self.0.iter().rfind(|attribute| attribute.oid == COMMON_NAME)?;
        Some(&*last.value).filter(|value| !value.is_empty())
    }
}

impl fmt::Display for DistinguishedName<'_> {
    /// Formats the known types first, in the order of [`KNOWN`], with values of one type joined by `+`.
    ///
    /// The others follow, the last one first, as number and hexadecimal DER.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (oid, label, repeat) in KNOWN {
            let mut values: Vec<&str> =
                self.0.iter().filter(|found| found.oid == oid).map(|found| &*found.value).collect();
            if repeat == Repeat::Last {
                values.drain(..values.len().saturating_sub(1));
                values.retain(|value| !value.is_empty());
            }
            let mut separator = comma;
            for value in values {
                write!(f, "{separator}{label}=")?;
                write_escaped(f, value)?;
                (separator, comma) = ("+", ",");
            }
        }
        for attribute in self.0.iter().rev().filter(|found| KNOWN.iter().all(|(oid, ..)| *oid != found.oid)) {
            write!(f, "{comma}{}=#", der::dotted(attribute.oid))?;
            comma = ",";
            let string =
                if attribute.value.bytes().all(is_printable) { tag::PRINTABLE_STRING } else { tag::UTF8_STRING };
            for octet in der::element(string, &[attribute.value.as_bytes()]) {
                write!(f, "{octet:02x}")?;
            }
        }
        Ok(())
    }
}

/// Escapes a value as in RFC 2253, section 2.4.
fn write_escaped(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    use fmt::Write;
    for (at, character) in value.char_indices() {
        let special = match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == value.len() - 1,
            '#' => at == 0,
            _ => false,
        };
        if special {
            f.write_char('\\')?;
        }
        f.write_char(character)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::der::Reader;
    use crate::trust::x509::verdict::name::parse;

    type Given<'a> = &'a [(&'a [u8], u8, &'a [u8])];

    /// A name with one attribute in each of its sets.
    fn name(attributes: Given<'_>) -> Vec<u8> {
        let sets: Vec<Vec<u8>> = attributes
            .iter()
            .map(|(oid, string, content)| {
                let pair = [der::element(tag::OID, &[oid]), der::element(*string, &[content])].concat();
                der::element(tag::SET, &[&der::element(tag::SEQUENCE, &[&pair])])
            })
            .collect();
        der::element(tag::SEQUENCE, &[&sets.concat()])
    }

    const CN: &[u8] = COMMON_NAME;
    const O: &[u8] = &[0x55, 4, 10];
    const OU: &[u8] = &[0x55, 4, 11];
    const TITLE: &[u8] = &[0x55, 4, 12];

    #[test]
    fn names_print_as_go_prints_them() {
        let table: [(Given<'_>, &str); 9] = [
            (&[], ""),
            (&[(O, 12, b"Acme"), (CN, 12, b"Root")], "CN=Root,O=Acme"),
            (&[(CN, 12, b"Root"), (O, 12, b"Acme")], "CN=Root,O=Acme"),
            (&[(OU, 12, b"a"), (CN, 12, b"x"), (OU, 12, b"b")], "CN=x,OU=a+OU=b"),
            (&[(CN, 12, b"first"), (CN, 12, b"last")], "CN=last"),
            (&[(CN, 12, b""), (O, 12, b"")], "O="),
            (&[(CN, 12, b" #,+\"\\<>; ")], r#"CN=\ #\,\+\"\\\<\>\;\ "#),
            (&[(TITLE, 12, b"Dr"), (CN, 12, b"x"), (TITLE, 12, b"*")], "CN=x,2.5.4.12=#0c012a,2.5.4.12=#13024472"),
            (&[(CN, 20, b"\xe9\xff"), (O, 30, &[0x01, 0x0c, 0, 0])], "CN=éÿ,O=Č"),
        ];
        for (attributes, text) in table {
            let der = name(attributes);
            assert_eq!(parse(&mut Reader::new(&der), "name").ok().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_last_common_name_counts_and_is_not_escaped() {
        let table: [(Given<'_>, Option<&str>); 4] = [
            (&[(CN, 12, b"first"), (O, 12, b"Acme"), (CN, 12, b"a, b")], Some("a, b")),
            (&[(O, 12, b"Acme")], None),
            (&[(CN, 12, b"first"), (CN, 12, b"")], None),
            (&[], None),
        ];
        for (attributes, common_name) in table {
            let der = name(attributes);
            assert_eq!(parse(&mut Reader::new(&der), "name").ok().unwrap().common_name(), common_name);
        }
    }
}
