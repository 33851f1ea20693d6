import Foundation
import Testing

/// Whose proxies a mesh has.
enum DataPlaneChoice: String, CaseIterable, CustomTestStringConvertible {
    case envoy, martinet
    /// Both, in turn.
    case mixed

    /// For meshes that are made from here on. `DATA_PLANE=martinet` makes it that of a whole run.
    @TaskLocal static var current =
        ProcessInfo.processInfo.environment["DATA_PLANE"].flatMap(DataPlaneChoice.init) ?? .envoy

    var testDescription: String { rawValue }

    /// Whether the proxy of that number, from 1, is martinet's.
    func isMartinet(_ number: Int) -> Bool {
        switch self {
        case .envoy: false
        case .martinet: true
        case .mixed: number.isMultiple(of: 2)
        }
    }
}
