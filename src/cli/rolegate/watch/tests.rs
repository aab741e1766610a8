//! Changes as people, programs and Kubernetes make them. Nothing here waits for time to pass: each step waits for
//! the look that it causes.

use super::*;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::sync::mpsc;

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody looks without an event.
const NEVER: Duration = Duration::from_secs(3600);
const SUFFIXES: &[&str] = &[".rhai"];

/// A folder that is looked at, and what is found there at each look.
struct Scene {
    root: tempfile::TempDir,
    place: PathBuf,
    known: Fingerprint,
    looks: Receiver<Fingerprint>,
    _watch: Watch,
}

impl Scene {
    /// Watches `name` in a folder that `prepare` has filled.
    fn at(name: &str, prepare: impl FnOnce(&Path)) -> Self {
        Self::paced(name, Pace { backstop: NEVER, poll: NEVER, ..Pace::default() }, prepare)
    }

    fn paced(name: &str, pace: Pace, prepare: impl FnOnce(&Path)) -> Self {
        let root = tempfile::tempdir().unwrap();
        prepare(root.path());
        let place = root.path().join(name);
        let (told, looks) = mpsc::channel();
        let places = vec![place.clone()];
        let known = Fingerprint::of(&places, SUFFIXES);
        let watch = Watch::start(places.clone(), pace, move || {
            let _ = told.send(Fingerprint::of(&places, SUFFIXES));
        });
        Self { root, place, known, looks, _watch: watch.unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn now(&self) -> Fingerprint {
        Fingerprint::of(std::slice::from_ref(&self.place), SUFFIXES)
    }

    /// Waits until a look has found what is there now, which must be something else than before.
    #[track_caller]
    fn expect_change(&mut self) {
        let now = self.now();
        assert_ne!(now, self.known, "nothing was changed");
        self.known = now;
        while self.looks.recv_timeout(PATIENCE).expect("nobody looked") != now {}
    }

    /// Waits for a look that finds nothing new.
    #[track_caller]
    fn expect_nothing_new(&mut self) {
        assert_eq!(self.looks.recv_timeout(PATIENCE).expect("nobody looked"), self.known);
    }
}

fn one_file(root: &Path) {
    fs::create_dir(root.join("policies")).unwrap();
    fs::write(root.join("policies/p.rhai"), "one").unwrap();
}

#[test]
fn file_that_is_written_added_renamed_or_removed_is_seen() {
    let mut scene = Scene::at("policies", one_file);
    fs::write(scene.path("policies/p.rhai"), "two").unwrap();
    scene.expect_change();
    fs::write(scene.path("policies/q.rhai"), "q").unwrap();
    scene.expect_change();
    fs::write(scene.path("policies/new"), "three").unwrap();
    fs::rename(scene.path("policies/new"), scene.path("policies/p.rhai")).unwrap();
    scene.expect_change();
    fs::remove_file(scene.path("policies/q.rhai")).unwrap();
    scene.expect_change();
}

#[test]
fn touched_file_is_looked_at_and_not_changed() {
    let mut scene = Scene::at("policies", one_file);
    // Written over: the file is never empty, so that no look finds something else.
    let mut file = fs::File::options().write(true).open(scene.path("policies/p.rhai")).unwrap();
    file.write_all(b"one").unwrap();
    drop(file);
    scene.expect_nothing_new();
    fs::write(scene.path("policies/p.rhai"), "two").unwrap();
    scene.expect_change();
}

#[test]
fn looking_causes_no_further_look() {
    let mut scene = Scene::at("policies", one_file);
    fs::write(scene.path("policies/p.rhai"), "two").unwrap();
    scene.expect_change();
    // One write may come as several events, and so as several looks. Looks that cause looks would never end.
    let quiet = Pace::default().quiet * 2;
    let more = std::iter::from_fn(|| scene.looks.recv_timeout(quiet).ok());
    assert!(more.take(10).count() < 10);
}

#[test]
fn single_file_is_followed_through_replacement() {
    let mut scene = Scene::at("policies/p.rhai", one_file);
    for text in ["two", "three", "four"] {
        fs::write(scene.path("policies/next"), text).unwrap();
        fs::rename(scene.path("policies/next"), scene.path("policies/p.rhai")).unwrap();
        scene.expect_change();
    }
    fs::write(scene.path("policies/p.rhai"), "five").unwrap();
    scene.expect_change();
}

/// The kubelet writes a new folder, points `..data_tmp` to it, renames that over `..data` and removes the old one.
fn mount(root: &Path, name: &str, text: &str) {
    let mount = root.join("policies");
    let old = fs::read_link(mount.join("..data")).ok();
    fs::create_dir_all(mount.join(name)).unwrap();
    fs::write(mount.join(name).join("p.rhai"), text).unwrap();
    symlink(name, mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    match old {
        Some(old) => fs::remove_dir_all(mount.join(old)).unwrap(),
        None => symlink("..data/p.rhai", mount.join("p.rhai")).unwrap(),
    }
}

#[test]
fn swap_of_a_mounted_folder_is_seen_time_after_time() {
    for place in ["policies", "policies/p.rhai"] {
        let mut scene = Scene::at(place, |root| mount(root, "..2030_0", "zero"));
        for (name, text) in [("..2030_1", "one"), ("..2030_2", "two"), ("..2030_3", "three")] {
            mount(scene.root.path(), name, text);
            scene.expect_change();
        }
    }
}

#[test]
fn link_to_a_release_is_followed() {
    let mut scene = Scene::at("current/policies/p.rhai", |root| {
        for release in ["a", "b"] {
            fs::create_dir_all(root.join(release).join("policies")).unwrap();
            fs::write(root.join(release).join("policies/p.rhai"), release).unwrap();
        }
        symlink("a", root.join("current")).unwrap();
    });
    symlink("b", scene.path("next")).unwrap();
    fs::rename(scene.path("next"), scene.path("current")).unwrap();
    scene.expect_change();
    fs::write(scene.path("b/policies/p.rhai"), "c").unwrap();
    scene.expect_change();
}

#[test]
fn folder_that_vanishes_and_comes_back_is_seen() {
    let mut scene = Scene::at("policies", one_file);
    for text in ["two", "three"] {
        fs::remove_dir_all(scene.path("policies")).unwrap();
        scene.expect_change();
        fs::create_dir(scene.path("policies")).unwrap();
        fs::write(scene.path("policies/p.rhai"), text).unwrap();
        scene.expect_change();
    }
    fs::rename(scene.path("policies"), scene.path("away")).unwrap();
    scene.expect_change();
    fs::rename(scene.path("away"), scene.path("policies")).unwrap();
    scene.expect_change();
    fs::write(scene.path("policies/p.rhai"), "four").unwrap();
    scene.expect_change();
}

#[test]
fn change_that_no_event_tells_is_found_all_the_same() {
    // What is watched is a name that never appears, as though the system told nothing.
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("p.rhai");
    fs::write(&file, "one").unwrap();
    let (told, looks) = mpsc::channel();
    let looked_at = vec![file.clone()];
    let pace = Pace { backstop: Duration::from_millis(5), ..Pace::default() };
    let _watch = Watch::start(vec![root.path().join("elsewhere/x")], pace, move || {
        let _ = told.send(Fingerprint::of(&looked_at, SUFFIXES));
    });
    let before = Fingerprint::of(std::slice::from_ref(&file), SUFFIXES);
    fs::write(&file, "two").unwrap();
    let after = Fingerprint::of(std::slice::from_ref(&file), SUFFIXES);
    assert_ne!(before, after);
    while looks.recv_timeout(PATIENCE).unwrap() != after {}
}

#[test]
fn only_changes_of_contents_are_told() {
    let root = tempfile::tempdir().unwrap();
    one_file(root.path());
    let file = root.path().join("policies/p.rhai");
    let (told, changes) = mpsc::channel();
    let places = vec![root.path().join("policies")];
    let _watch = Watch::on_change(places, SUFFIXES, move || {
        let _ = told.send(());
    })
    .unwrap();
    fs::write(root.path().join("policies/notes.txt"), "x").unwrap();
    fs::write(&file, "two").unwrap();
    assert_eq!(changes.recv_timeout(PATIENCE), Ok(()));
}

#[test]
fn dropped_watch_ends() {
    let scene = Scene::at("policies", one_file);
    let Scene { _watch: watch, looks, root: _root, .. } = scene;
    drop(watch);
    while looks.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Disconnected) {}
}
