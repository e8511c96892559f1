//! What this process takes of the machine's memory, for platforms that are no browser:
//! `status` tells what [`Platform::memory_usage`](crate::Platform::memory_usage) says, which
//! a platform may take from here. In a browser it is the size of the WebAssembly memory; of
//! the platforms in this repository, the tests' own alone is no browser.

use nox_protocol::MemoryUsage;

/// The process's resident memory and its peak, as far as the system tells.
#[cfg(target_os = "linux")]
pub fn process_memory() -> MemoryUsage {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    MemoryUsage {
        resident_bytes: field_bytes(&status, "VmRSS:"),
        peak_bytes: field_bytes(&status, "VmHWM:"),
    }
}

/// The process's resident memory; these systems tell the peak to C alone.
#[cfg(not(target_os = "linux"))]
pub fn process_memory() -> MemoryUsage {
    let stats = memory_stats::memory_stats();
    MemoryUsage {
        resident_bytes: stats.map(|stats| stats.physical_mem as u64),
        peak_bytes: None,
    }
}

/// A field of the text that Linux has for people: `VmRSS:     1234 kB`.
#[cfg(target_os = "linux")]
fn field_bytes(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_with_their_unit() {
        let status = "Name:\tnox\nVmHWM:\t    2048 kB\nVmRSS:\t    1000 kB\nVmLck:\t none\n";
        assert_eq!(field_bytes(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(field_bytes(status, "VmRSS:"), Some(1_024_000));
        assert_eq!(field_bytes(status, "VmLck:"), None);
        assert_eq!(field_bytes(status, "VmSwap:"), None);
        let huge = format!("VmRSS: {} kB", u64::MAX);
        assert_eq!(field_bytes(&huge, "VmRSS:"), None);
    }
}
