//! A file of options that is followed.

use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use rootcast::inject::CainjectorOptions;
use rootcast::webhook::PolledFile;
use tokio::time::{sleep, timeout};

use crate::stage::SOON;

fn config_map(options: Result<CainjectorOptions, impl ToString>) -> Result<String, String> {
    options.map(|options| options.config_map).map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_a_file_holds_is_handed_on_when_it_changes_and_only_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    let mut file = PolledFile::new(path.clone(), CainjectorOptions::parse);
    assert_eq!(config_map(file.read()), Ok(String::new()), "a file that is missing is an empty one");

    let (sender, seen) = mpsc::channel();
    tokio::spawn(file.follow(move |options| drop(sender.send(config_map(options)))));
    let next = async || {
        let next = async {
            loop {
                match seen.try_recv() {
                    Ok(options) => break options,
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        timeout(SOON, next).await.expect("a change is seen")
    };
    fs::write(&path, "configMap: one").expect("written");
    assert_eq!(next().await, Ok("one".to_owned()));

    // The same once more is no news; what it is swapped for by a rename is.
    fs::write(&path, "configMap: one").expect("written");
    sleep(Duration::from_millis(1_500)).await;
    fs::write(folder.path().join("next"), "configMap: two").expect("written");
    fs::rename(folder.path().join("next"), &path).expect("renamed");
    assert_eq!(next().await, Ok("two".to_owned()));

    let bad = [
        (b"configMap: [two]".to_vec(), "config.yaml: "),
        (b"\xff".to_vec(), "config.yaml: it is no text in UTF-8"),
        (vec![b'#'; 1024 * 1024 + 1], "config.yaml: it is larger than 1048576 bytes"),
    ];
    for (bytes, words) in bad {
        fs::write(&path, bytes).expect("written");
        let refused = next().await.expect_err(words);
        assert!(refused.contains(words), "{refused}");
    }
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("a folder");
    let refused = next().await.expect_err("a folder is no file");
    assert!(refused.contains("config.yaml: Is a directory"), "{refused}");
    fs::remove_dir(&path).expect("removed");
    assert_eq!(next().await, Ok(String::new()));
    assert!(seen.try_recv().is_err(), "nothing else has changed");
}
