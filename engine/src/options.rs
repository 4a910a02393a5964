//! Socket options that are plain integers.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::c_int;
use nix::errno::Errno;

/// Sets an option whose value is an `int`.
pub(crate) fn set(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or(0);
    // SAFETY: "optval and optlen are used to access option values": they describe `value`, which
    // outlives the call and which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            length,
        )
    };
    Errno::result(result)?;
    Ok(())
}

/// Reads an option whose value is an `int`.
pub(crate) fn read(socket: &impl AsFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or(0);
    // SAFETY: "optval and optlen identify a buffer in which the value is to be returned": they
    // describe `value`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_mut(&mut value).cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    Ok(value)
}
