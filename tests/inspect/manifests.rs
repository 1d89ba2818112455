//! ConfigMaps and Secrets in YAML and JSON.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rootcast::trust::{Anchors, Password, Profile, jks, pem, pkcs12};
use serde_json::{Value, json};

use super::{certificate, inspect_with};

fn pem_of(name: &str) -> String {
    fs::read_to_string(certificate(name)).unwrap()
}

fn store(name: &str) -> [String; 2] {
    let blocks = pem::read(pem_of(name).as_bytes()).unwrap();
    let anchors = Anchors::collect(blocks.into_iter().map(|block| block.certificate.unwrap())).unwrap();
    let password = Password::new("changeit");
    [jks::encode(&anchors, &password), pkcs12::encode(&anchors, &password, Profile::Modern2023)]
        .map(|store| STANDARD.encode(store))
}

/// A ConfigMap with all fields, a Secret with all fields, and objects that have no certificates for us.
fn objects() -> [Value; 4] {
    let [jks, p12] = store("p384");
    [
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "team-a", "name": "corporate"},
            "data": {"ca.crt": format!("# two\n{}{}", pem_of("ec"), pem_of("rsa"))},
            "binaryData": {"trust.jks": jks, "trust.p12": p12},
        }),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}}),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop"}, "type": "Opaque",
            "data": {"ca.pem": STANDARD.encode(pem_of("ed25519"))},
            "stringData": {"other.pem": pem_of("leaf")},
        }),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "ConfigMap"}}),
    ]
}

fn as_yaml(objects: &[Value]) -> String {
    objects.iter().map(|object| serde_saphyr::to_string(object).unwrap()).collect::<Vec<_>>().join("---\n")
}

#[test]
fn every_key_of_every_object_is_read_whatever_the_form_of_the_file() {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects()});
    let files = [
        as_yaml(&objects()),
        as_yaml(std::slice::from_ref(&list)),
        list.to_string(),
        serde_json::to_string_pretty(&list).unwrap(),
    ];
    for file in files {
        let output = inspect_with(&["-"], file.as_bytes());
        let places: Vec<_> = output.out.lines().skip(1).map(|line| line.rsplit("  ").next().unwrap()).collect();
        let alias = |line: &&&str| line.starts_with("ConfigMap team-a/corporate trust.");
        assert_eq!(
            places.iter().filter(|place| !alias(place)).collect::<Vec<_>>(),
            [
                &"ConfigMap team-a/corporate ca.crt line 2",
                &"ConfigMap team-a/corporate ca.crt line 12",
                &"Secret shop ca.pem line 1",
                &"Secret shop other.pem line 1"
            ],
            "{}",
            output.out
        );
        assert_eq!((places.iter().filter(alias).count(), output.code), (2, 0), "{}", output.out);
        assert!(
            output.errors.contains(
                "rootcast: standard input: ConfigMap team-a/corporate, key \"trust.jks\": JKS, the password \"changeit\" fits\n"
            ),
            "{}",
            output.errors
        );
        let document = inspect_with(&["-", "-o", "json"], file.as_bytes()).json();
        let first = &document["certificates"][0];
        assert_eq!(
            (&first["object"], &first["objectKey"], &first["line"]),
            (&json!("ConfigMap team-a/corporate"), &json!("ca.crt"), &json!(2))
        );
    }
}

#[test]
fn what_cannot_be_decoded_is_named_with_object_and_key_and_the_rest_is_shown() {
    let objects = [
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "team-a", "name": "shop"},
            "data": {"a.pem": pem_of("ec"), "b.pem": STANDARD.encode(pem_of("ec")), "c.pem": 5},
        }),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "no\u{1b}map"}, "data": ["x"]}),
    ];
    let output = inspect_with(&["-"], as_yaml(&objects).as_bytes());
    assert_eq!((output.code, output.out.lines().count()), (1, 2), "{}", output.errors);
    for words in [
        "Secret team-a/shop, key \"a.pem\": it is not base64: encode it with base64, or put it under stringData as it is",
        "Secret team-a/shop, key \"c.pem\": it is no text: put it in quotes",
        "ConfigMap no\\u{1b}map: its field data is no map of keys and values",
    ] {
        assert!(output.errors.contains(&format!("rootcast: standard input: {words}\n")), "{}", output.errors);
    }
}

#[test]
fn yaml_without_such_objects_is_read_as_text() {
    let bundle = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "Secret"}});
    for text in [as_yaml(&[bundle]), "kind: Secret\n".to_owned(), "kind: ConfigMap\n: -\n\t".to_owned()] {
        let output = inspect_with(&["-"], text.as_bytes());
        let expected = "rootcast: standard input: holds no certificate: it is neither PEM, DER, JKS nor PKCS#12\n";
        assert_eq!((output.code, output.errors.as_str()), (2, expected), "{text}");
    }
    let comment = format!("# of Secret shop\n{}", pem_of("ec"));
    assert_eq!(inspect_with(&["-"], comment.as_bytes()).out.lines().count(), 2);
}

#[test]
fn certificates_of_other_objects_are_left_out_and_said_to_be() {
    let bundle = json!({
        "apiVersion": "trust.cert-manager.io/v1alpha1", "kind": "Bundle", "metadata": {"name": "corporate"},
        "spec": {"sources": [{"inLine": pem_of("ec")}]},
    });
    let [config_map, namespace, ..] = objects();
    let output = inspect_with(&["-"], as_yaml(&[config_map, namespace, bundle]).as_bytes());
    let remark = "left out, since only ConfigMaps and Secrets are read: \"Bundle corporate\"";
    assert!(output.errors.contains(remark) && !output.errors.contains("Namespace"), "{}", output.errors);
    assert_eq!(output.code, 0);
}
