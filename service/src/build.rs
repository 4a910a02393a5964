//! Who this process is: for `--version`, the start-up line and the `build_info` metric.

use std::fmt;

/// A build and the kernel it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The version of the workspace.
    pub version: &'static str,
    /// The git revision it was built from, or `unknown`.
    pub revision: &'static str,
    /// The compiler, as `rustc --version` says it.
    pub compiler: &'static str,
    /// The release of the running kernel, such as `6.12.9`, or `unknown`.
    pub kernel: String,
}

/// The version of the workspace, for `clap`: `0.1.0 (3f2a90c1b2d4)`.
pub const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("RINGWAY_BUILD_REVISION"), ")");

/// The day of the revision it was built from, as `2026-11-21`; empty if that is not known.
pub const DATE: &str = env!("RINGWAY_BUILD_DATE");

impl Build {
    /// This build, on this kernel.
    #[must_use]
    pub fn current() -> Self {
        // A sandbox may hide /proc; not knowing the kernel is no reason to fail.
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned());
        Self {
            version: env!("CARGO_PKG_VERSION"),
            revision: env!("RINGWAY_BUILD_REVISION"),
            compiler: env!("RINGWAY_BUILD_COMPILER"),
            kernel,
        }
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, revision, compiler, kernel } = self;
        write!(f, "{version} (revision {revision}, {compiler}, kernel {kernel})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_known_or_says_unknown() {
        let build = Build::current();
        assert_eq!(build.version, env!("CARGO_PKG_VERSION"));
        for part in [build.revision, build.compiler, &build.kernel] {
            assert!(!part.is_empty() && !part.contains('\n'), "{build}");
        }
        assert!(build.compiler.starts_with("rustc ") || build.compiler == "unknown");
        assert!(VERSION.starts_with(build.version));
    }
}
