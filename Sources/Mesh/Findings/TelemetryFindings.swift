extension Istio.AccessLogging {
    /// Where logs can be sent: the proxy's file or standard output, and the control plane.
    public static let providers = ["envoy", "martinet"]
}

extension MeshIndex {
    func findings(_ object: MeshObject, _ telemetry: Istio.Telemetry) -> [MeshFinding] {
        telemetry.accessLogging.enumerated().flatMap { index, entry in
            entry.providers.enumerated().compactMap { number, name in
                guard !Istio.AccessLogging.providers.contains(name) else { return nil }
                return object.finding(
                    .warning, .unknownObject, at: "spec.accessLogging[\(index)].providers[\(number)].name",
                    "nothing is logged to a provider `\(name)`",
                    mend: "write " + Istio.AccessLogging.providers.joined(separator: " or "))
            }
        }
    }
}
