import CoreMetrics
import Glibc

/// What the process uses, read from /proc when it is asked for. Names as Prometheus' own clients have them.
public struct ProcessMetrics: Sendable {
    private let residentMemory = Gauge(label: "process_resident_memory_bytes")
    private let openDescriptors = Gauge(label: "process_open_fds")
    private let maximumDescriptors = Gauge(label: "process_max_fds")
    private let processorTime = Gauge(label: "process_cpu_seconds_total")
    private let threads = Gauge(label: "process_threads")

    /// - Parameter version: of the program; shown as the label of `martinet_build_info`.
    public init(version: String) {
        Gauge(label: "martinet_build_info", dimensions: [("version", version)]).record(1)
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        Gauge(label: "process_start_time_seconds").record(Double(now.tv_sec) + Double(now.tv_nsec) / 1e9)
        refresh()
    }

    /// Reads everything again.
    public func refresh() {
        if let pages = Self.words(of: "/proc/self/statm").dropFirst().first.flatMap(Double.init) {
            residentMemory.record(pages * Double(sysconf(Int32(_SC_PAGESIZE))))
        }
        openDescriptors.record(Double(Self.entryCount(of: "/proc/self/fd")))
        threads.record(Double(Self.entryCount(of: "/proc/self/task")))
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            maximumDescriptors.record(Double(limit.rlim_cur))
        }
        var usage = rusage()
        if getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
            processorTime.record(Self.seconds(usage.ru_utime) + Self.seconds(usage.ru_stime))
        }
    }

    private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }

    private static func words(of path: String) -> [Substring] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0 else { return [] }
        return String(decoding: bytes[..<count], as: UTF8.self).split(separator: " ")
    }

    private static func entryCount(of path: String) -> Int {
        guard let directory = opendir(path) else { return 0 }
        defer { closedir(directory) }
        var count = 0
        while let entry = readdir(directory) {
            // "." and "..".
            if entry.pointee.d_name.0 != 46 { count += 1 }
        }
        return count
    }
}

extension PrometheusRegistry {
    /// Makes this registry the backend of swift-metrics for the whole process. Once, before the first metric is made.
    public func install() { MetricsSystem.bootstrap(self) }
}
