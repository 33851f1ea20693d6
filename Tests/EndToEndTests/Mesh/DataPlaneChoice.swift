import Foundation
import Testing

/// Whose proxies a mesh has.
enum DataPlaneChoice: String, CustomTestStringConvertible {
    case envoy, martinet
    /// Both, in turn.
    case mixed

    /// For meshes that are made from here on.
    @TaskLocal static var current = DataPlaneChoice.envoy

    /// Of suites with ``AnyDataPlane``, whose assertions hold for each of them: `make test` takes the mixed one, where
    /// each kind of proxy stands on both ends; `make test-planes` the others.
    static let chosen = ProcessInfo.processInfo.environment["DATA_PLANE"].flatMap(DataPlaneChoice.init) ?? .mixed

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

/// Runs a suite or test on the data plane that was chosen for this run.
struct AnyDataPlane: SuiteTrait, TestTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        try await DataPlaneChoice.$current.withValue(.chosen) { try await function() }
    }
}

extension Trait where Self == AnyDataPlane {
    static var anyDataPlane: Self { AnyDataPlane() }
}
