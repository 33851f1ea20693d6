import FuzzTargets
import Glibc

/// libFuzzer's entry: `FUZZ_TARGET=http2 martinet-fuzz CORPUS`. Built by `make fuzz` alone, with the sanitizer's main.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    target.run(UnsafeRawBufferPointer(start: start, count: count))
    return 0
}

private let target: FuzzTarget = {
    let wanted = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""
    guard let target = FuzzTarget(rawValue: wanted) else {
        let known = FuzzTarget.allCases.map(\.rawValue).joined(separator: ", ")
        let words = Array("error: FUZZ_TARGET is \"\(wanted)\"\nhint: set it to one of \(known)\n".utf8)
        _ = write(2, words, words.count)
        exit(64)
    }
    return target
}()
