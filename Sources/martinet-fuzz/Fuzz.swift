import FuzzTargets
import Glibc

/// `FUZZ_TARGET=http2 martinet-fuzz CORPUS`: libFuzzer's driver over one target, with libFuzzer's own arguments. Built by
/// `make fuzz` alone, with the sanitizer that brings the driver.
@main
struct Fuzz {
    static let target: FuzzTarget = {
        let wanted = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""
        guard let target = FuzzTarget(rawValue: wanted) else {
            let known = FuzzTarget.allCases.map(\.rawValue).joined(separator: ", ")
            let words = Array("error: FUZZ_TARGET is \"\(wanted)\"\nhint: set it to one of \(known)\n".utf8)
            _ = write(2, words, words.count)
            exit(64)
        }
        return target
    }()

    static func main() {
        _ = target
        var count = CommandLine.argc
        var words = CommandLine.unsafeArgv
        exit(runDriver(&count, &words) { fuzzOneInput($0, $1) })
    }
}

/// Under this name libFuzzer looks for it, whoever calls the driver.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    Fuzz.target.run(UnsafeRawBufferPointer(start: start, count: count))
    return 0
}

/// The package manager gives every program a `main` of Swift's, so libFuzzer's is not there to be linked: this is what it
/// calls. Source: LLVM, "libFuzzer", "Using libFuzzer as a library".
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<CInt>,
    _ words: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ target: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt
