//! Distinguished names (RFC 5280, section 4.1.2.4), with the string types that Go decodes.

use super::X509ParseError;
use crate::trust::der::{Reader, tag};

/// Parsed distinguished name.
pub(in crate::trust::x509) struct DistinguishedName<'a>(pub(in crate::trust::x509) Vec<Attribute<'a>>);

/// Attribute of a distinguished name.
pub(in crate::trust::x509) struct Attribute<'a> {
    /// Content of the object identifier of the type.
    pub(in crate::trust::x509) oid: &'a [u8],
    /// Decoded value.
    pub(in crate::trust::x509) value: String,
}

/// Parses the next element as a name; `part` names it in errors.
pub(in crate::trust::x509) fn parse<'a>(
    input: &mut Reader<'a>,
    part: &'static str,
) -> Result<DistinguishedName<'a>, X509ParseError> {
    let malformed = X509ParseError::Malformed(part);
    let mut sequence = input.enter(tag::SEQUENCE).ok_or(malformed.clone())?;
    let mut attributes = Vec::new();
    while !sequence.is_empty() {
        let mut set = sequence.enter(tag::SET).ok_or(malformed.clone())?;
        while !set.is_empty() {
            let mut attribute = set.enter(tag::SEQUENCE).ok_or(malformed.clone())?;
            let oid = attribute.oid().ok_or(malformed.clone())?;
            let (string, content) = attribute.any().ok_or(malformed.clone())?;
            attributes.push(Attribute { oid, value: text(string, content)? });
        }
    }
    Ok(DistinguishedName(attributes))
}

/// Decodes one of the string types that names may use.
fn text(string: u8, content: &[u8]) -> Result<String, X509ParseError> {
    let ascii = |allowed: fn(u8) -> bool, name| match str::from_utf8(content) {
        Ok(text) if content.iter().copied().all(allowed) => Ok(text.to_owned()),
        _ => Err(X509ParseError::String(name)),
    };
    match string {
        tag::UTF8_STRING => ascii(|_| true, "UTF8String"),
        // '*' and '&' are not in PrintableString (X.680, section 41.4), but real certificates have them.
        tag::PRINTABLE_STRING => {
            ascii(|octet| is_printable(octet) || octet == b'*' || octet == b'&', "PrintableString")
        }
        tag::IA5_STRING => ascii(|octet| octet.is_ascii(), "IA5String"),
        tag::NUMERIC_STRING => ascii(|octet| octet.is_ascii_digit() || octet == b' ', "NumericString"),
        // Read as Latin-1, which is what is written as T61String in practice.
        tag::T61_STRING => Ok(content.iter().copied().map(char::from).collect()),
        tag::BMP_STRING => bmp(content).ok_or(X509ParseError::String("BMPString")),
        other => Err(X509ParseError::StringType(other)),
    }
}

/// Decodes UCS-2 without surrogates and noncharacters, with an optional terminator.
fn bmp(content: &[u8]) -> Option<String> {
    let (units, []) = content.as_chunks() else {
        return None;
    };
    let units = units.strip_suffix(&[[0, 0]]).unwrap_or(units);
    let character = |unit: &[u8; 2]| match u16::from_be_bytes(*unit) {
        0xfffe | 0xffff | 0xfdd0..=0xfdef => None,
        unit => char::from_u32(unit.into()),
    };
    units.iter().map(character).collect()
}

/// Returns whether a `PrintableString` may have this octet (X.680, section 41.4).
pub(in crate::trust::x509) fn is_printable(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&octet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::der::element;

    #[test]
    fn strings_that_go_cannot_read_are_refused() {
        let table: [(u8, &[u8], X509ParseError); 8] = [
            (28, &[0, 0, 0, 65], X509ParseError::StringType(28)),
            (12, &[0xff], X509ParseError::String("UTF8String")),
            (19, b"a@b", X509ParseError::String("PrintableString")),
            (22, &[0x80], X509ParseError::String("IA5String")),
            (18, b"1a", X509ParseError::String("NumericString")),
            (30, &[0], X509ParseError::String("BMPString")),
            (30, &[0xd8, 0], X509ParseError::String("BMPString")),
            (30, &[0xff, 0xff], X509ParseError::String("BMPString")),
        ];
        for (string, content, error) in table {
            let attribute = [element(tag::OID, &[&[0x55, 4, 3]]), element(string, &[content])].concat();
            let set = element(tag::SET, &[&element(tag::SEQUENCE, &[&attribute])]);
            let der = element(tag::SEQUENCE, &[&set]);
            assert_eq!(parse(&mut Reader::new(&der), "name").err(), Some(error));
        }
    }
}
