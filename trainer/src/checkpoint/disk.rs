//! What a checkpoint asks of the disk. A trait, so that tests can let any of it fail.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use crate::TrainerError;

/// Steps that may fail one by one.
pub trait Disk {
    /// A new file with these bytes.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// A file's or a folder's contents are on the disk once this returns.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// In one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::File::create(path)?.write_all(bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
}

/// Puts files into `<folder>/<name>`: all of them, flushed, or none.
///
/// A folder of that name is set aside until the new one stands in its place.
///
/// # Errors
/// [`TrainerError::Io`] with the path; what was there before still is.
pub fn place(disk: &dyn Disk, folder: &Path, name: &str, files: &[(String, Vec<u8>)]) -> Result<PathBuf, TrainerError> {
    let (path, temporary, aside) = (folder.join(name), folder.join(format!(".{name}.tmp")), folder.join(format!(".{name}.old")));
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |source| TrainerError::Io { path, source }
    };
    for left in [&temporary, &aside] {
        if left.exists() {
            fs::remove_dir_all(left).map_err(at(left))?;
        }
    }
    fs::create_dir_all(&temporary).map_err(at(&temporary))?;
    let placed = || -> Result<(), TrainerError> {
        for (name, bytes) in files {
            let path = temporary.join(name);
            disk.write(&path, bytes).map_err(at(&path))?;
            disk.sync(&path).map_err(at(&path))?;
        }
        disk.sync(&temporary).map_err(at(&temporary))?;
        if path.exists() {
            disk.rename(&path, &aside).map_err(at(&aside))?;
        }
        disk.rename(&temporary, &path).map_err(at(&path))?;
        disk.sync(folder).map_err(at(folder))
    };
    let outcome = placed();
    if outcome.is_err() && aside.exists() && !path.exists() {
        let _ = fs::rename(&aside, &path);
    }
    // A disk that is full has no room for a half checkpoint either.
    let _ = fs::remove_dir_all(&temporary);
    if path.exists() {
        let _ = fs::remove_dir_all(&aside);
    }
    outcome.map(|()| path)
}
