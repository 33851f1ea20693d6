import Documents

extension Istio.AccessLogging {
    /// Where logs can be sent without a provider of the MeshConfig: the proxy's file or standard output, and the control
    /// plane.
    public static let ownProviders = ["envoy", "martinet"]
}

extension ExtensionProvider {
    /// Whether proxies can log to it.
    public var takesLogs: Bool {
        switch work {
        case .fileLog, .httpLog, .streamLog: true
        case .authorization, .zipkin, .openTelemetry, .prometheus: false
        }
    }

    /// Whether proxies can send spans to it.
    public var takesSpans: Bool {
        switch work {
        case .zipkin, .openTelemetry: true
        case .authorization, .fileLog, .httpLog, .streamLog, .prometheus: false
        }
    }

    /// Where its service is; nil for one that has none.
    public var place: Place? {
        switch work {
        case .authorization(let authorization): authorization.place
        case .httpLog(let log), .streamLog(let log): log.place
        case .zipkin(let zipkin): zipkin.place
        case .openTelemetry(let telemetry): telemetry.place
        case .fileLog, .prometheus: nil
        }
    }
}

extension MeshIndex {
    func findings(_ object: MeshObject, _ telemetry: Istio.Telemetry) -> [MeshFinding] {
        let providers = config.providers
        func unknown(
            _ names: [String], at path: String, among known: [String], _ words: (String) -> String
        ) -> [MeshFinding] {
            names.enumerated().compactMap { number, name in
                guard !known.contains(name) else { return nil }
                return object.finding(
                    .warning, .unknownObject, at: "\(path).providers[\(number)].name", words(excerpt(name)),
                    mend: known.isEmpty
                        ? "add it to `extensionProviders` of the MeshConfig"
                        : "write " + known.joined(separator: " or "))
            }
        }
        let logs = Istio.AccessLogging.ownProviders + providers.filter(\.takesLogs).map(\.name)
        let tracers = providers.filter(\.takesSpans).map(\.name)
        return telemetry.accessLogging.enumerated().flatMap { index, entry in
            unknown(entry.providers, at: "spec.accessLogging[\(index)]", among: logs) {
                "nothing is logged to a provider `\($0)`"
            }
        }
            + telemetry.tracing.enumerated().flatMap { index, entry in
                unknown(entry.providers, at: "spec.tracing[\(index)]", among: tracers) {
                    "no spans are sent to a provider `\($0)`"
                }
            }
    }

    func findings(_ object: MeshObject, _ config: MeshConfig) -> [MeshFinding] {
        config.providers.enumerated().flatMap { index, provider -> [MeshFinding] in
            guard let place = provider.place else { return [] }
            let namespace = place.namespace ?? config.rootNamespace
            let field = ExtensionProvider.field(of: provider)
            let path = "spec.extensionProviders[\(index)].\(field)"
            let services = services(matching: place.host, from: namespace)
            if services.isEmpty { return [noSuchHost(object, place.host, at: path + ".service")] }
            let ports = services.flatMap(\.ports)
            if !ports.isEmpty, !ports.contains(where: { $0.number == place.port }) {
                let list = Set(ports.map(\.number)).sorted().map(String.init).joined(separator: ", ")
                return [
                    object.finding(
                        .warning, .unknownPort, at: path + ".port",
                        "`\(excerpt(place.host))` has no port \(place.port)",
                        mend: "it has \(list)")
                ]
            }
            return []
        }
    }
}

extension ExtensionProvider {
    /// The field that says what it does.
    fileprivate static func field(of provider: ExtensionProvider) -> String {
        switch provider.work {
        case .authorization(let authorization): authorization.http == nil ? "envoyExtAuthzGrpc" : "envoyExtAuthzHttp"
        case .fileLog: "envoyFileAccessLog"
        case .httpLog: "envoyHttpAls"
        case .streamLog: "envoyTcpAls"
        case .zipkin: "zipkin"
        case .openTelemetry: "opentelemetry"
        case .prometheus: "prometheus"
        }
    }
}
