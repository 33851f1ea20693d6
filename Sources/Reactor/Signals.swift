import CLinux
import Glibc
import Synchronization

/// A process has one set of signal handlers.
private let signalsAreTaken = Atomic(false)

extension Loop {
    /// From now on each of these signals (SIGTERM, SIGINT, SIGHUP, …) calls `received` on this loop's thread, outside
    /// handlers' callbacks, instead of ending the process. Ends with the loop; the signals are then as they were by
    /// default.
    /// - Throws: `.signalsTaken` if the process receives signals elsewhere, `.cannotStart`.
    public func onSignals(_ signals: [Int32], received: @escaping (Int32) -> Void) throws(ReactorError) {
        guard !signalsAreTaken.exchange(true, ordering: .acquiringAndReleasing) else { throw .signalsTaken }
        do throws(SystemError) {
            let source = try SignalSource(signals, received)
            do throws(SystemError) {
                try addSource(source, descriptor: source.reader)
            } catch {
                source.cancel()
                throw error
            }
        } catch {
            signalsAreTaken.store(false, ordering: .sequentiallyConsistent)
            throw .cannotStart(error)
        }
    }
}

/// A pipe that the signal handler writes to. Unlike signalfd it needs no signal mask in every thread.
private final class SignalSource: EventSource {
    let reader: Int32
    private let writer: Int32
    private let signals: [Int32]
    private let received: (Int32) -> Void

    init(_ signals: [Int32], _ received: @escaping (Int32) -> Void) throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        _ = try SystemError.check(linux_pipe(&ends), "pipe2")
        (reader, writer) = (ends[0], ends[1])
        self.signals = signals
        self.received = received
        for (position, signal) in signals.enumerated() {
            let result = linux_signal_to_pipe(signal, writer)
            guard result < 0 else { continue }
            for earlier in signals[..<position] { _ = linux_signal_default(earlier) }
            _ = linux_close(reader)
            _ = linux_close(writer)
            throw SystemError(call: "sigaction", number: -result)
        }
    }

    override func ready(_ loop: Loop) {
        var bytes = [UInt8](repeating: 0, count: 64)
        while true {
            let count = linux_read(reader, &bytes, bytes.count)
            guard count > 0 else { return }
            for byte in bytes[..<Int(count)] { received(Int32(byte)) }
        }
    }

    override func cancel() {
        for signal in signals { _ = linux_signal_default(signal) }
        _ = linux_close(reader)
        _ = linux_close(writer)
        signalsAreTaken.store(false, ordering: .sequentiallyConsistent)
    }
}
