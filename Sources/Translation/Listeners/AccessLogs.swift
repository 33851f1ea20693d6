import EnvoyAPI
import Mesh
import Protobuf

/// Which traffic of a proxy is meant.
enum TrafficSide: String, Hashable {
    case inbound
    case outbound
    case gateway

    /// Source: Istio, Telemetry: a gateway is a client of what it leads to.
    func isCovered(by side: Istio.TrafficSide) -> Bool {
        switch side {
        case .clientAndServer, .undefined: true
        case .client: self != .inbound
        case .server: self == .inbound
        }
    }
}

/// Where the log of a proxy's traffic goes, after MeshConfig and every Telemetry that is for it.
struct AccessLogPlan: Hashable {
    /// The name that objects have for the file; Istio's.
    static let fileProvider = "envoy"
    /// The name that objects have for the control plane.
    static let controlPlaneProvider = "martinet"
    /// Over which proxies reach the control plane, by their bootstrap.
    static let controlPlaneCluster = "martinet"

    /// A path on the proxy's machine; nil writes none.
    var file: String?
    /// Envoy's format; nil is Envoy's own.
    var format: String?
    var isSentToControlPlane: Bool
    /// Providers of the MeshConfig, each once.
    var providers: [String] = []
    /// Only what fits is logged, in the Common Expression Language.
    var filter: String?
}

extension Translator {
    /// The Telemetry objects for a proxy, the widest first, one for each width: the oldest.
    func telemetry(for proxy: ProxyClass) -> [Istio.Telemetry] {
        let all = mesh.policies(.telemetry, selecting: proxy.labels, in: proxy.namespace)
        let root = mesh.config.rootNamespace
        let levels: [(MeshObject) -> Bool] = [
            { $0.policyScope?.isWide == true && $0.key.namespace == root },
            { $0.policyScope?.isWide == true && $0.key.namespace != root },
            { $0.policyScope?.isWide == false },
        ]
        return levels.compactMap { level in
            guard let object = all.filter(level).min(by: { $0.isOlder(than: $1) }),
                case .telemetry(let telemetry) = object.body
            else { return nil }
            return telemetry
        }
    }

    /// A narrower object takes the place of a wider one in what it says. Naming other providers leaves the control
    /// plane's log as it is, unless an entry turns off all, or this one by its name.
    func accessLogPlan(for proxy: ProxyClass, _ side: TrafficSide) -> AccessLogPlan {
        let config = mesh.config
        let file = config.accessLog.file ?? "/dev/stdout"
        var plan = AccessLogPlan(
            file: config.accessLog.file, format: config.accessLog.format,
            isSentToControlPlane: config.accessLog.isSentToControlPlane)
        func turn(_ name: String, _ isOn: Bool) {
            switch name {
            case AccessLogPlan.fileProvider: plan.file = isOn ? file : nil
            case AccessLogPlan.controlPlaneProvider: plan.isSentToControlPlane = isOn
            default:
                plan.providers.removeAll { $0 == name }
                if isOn { plan.providers.append(name) }
            }
        }
        for name in config.loggingProviders { turn(name, true) }
        let standard = plan
        for telemetry in telemetry(for: proxy) {
            let entries = telemetry.accessLogging.filter { side.isCovered(by: $0.side) }
            // What this object names takes the place of what wider ones have named.
            if entries.contains(where: { !$0.providers.isEmpty && $0.isDisabled != true }) {
                (plan.file, plan.providers) = (nil, [])
            }
            for entry in entries {
                let isOn = entry.isDisabled != true
                for name in entry.providers { turn(name, isOn) }
                if entry.providers.isEmpty {
                    if !isOn {
                        (plan.file, plan.providers, plan.isSentToControlPlane) = (nil, [], false)
                    } else if entry.isDisabled == false {
                        (plan.file, plan.providers) = (standard.file, standard.providers)
                        plan.isSentToControlPlane = standard.isSentToControlPlane
                    }
                }
                plan.filter = entry.filter ?? plan.filter
            }
        }
        return plan
    }

    private static let filterType =
        "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"

    func accessLogs(for proxy: ProxyClass, _ side: TrafficSide, isHTTP: Bool) -> [UnsafeMutablePointer<AccessLog>] {
        let plan = accessLogPlan(for: proxy, side)
        return accessLogs(plan, side, isHTTP: isHTTP)
            + plan.providers.compactMap { mesh.config.provider($0) }.compactMap {
                accessLog($0, plan.filter, for: proxy, isHTTP: isHTTP)
            }
    }

    /// For connections that fit no filter chain: what plaintext under STRICT looks like.
    func refusalLogs(for proxy: ProxyClass, _ side: TrafficSide) -> [UnsafeMutablePointer<AccessLog>] {
        let logs = accessLogs(for: proxy, side, isHTTP: false)
        for log in logs {
            log.pointee.filter = arena.make {
                $0.set(
                    response_flag_filter: arena.make { ($0.n_flags, $0.flags) = arena.strings(["NR"]) })
            }
        }
        return logs
    }

    private func accessLogs(
        _ plan: AccessLogPlan, _ side: TrafficSide, isHTTP: Bool
    ) -> [UnsafeMutablePointer<AccessLog>] {
        var logs: [UnsafeMutablePointer<AccessLog>] = []
        if let file = plan.file {
            logs.append(
                accessLog("envoy.access_loggers.file", fileLog(file, plan.format.map { .text($0) }), plan.filter))
        }
        if plan.isSentToControlPlane {
            let common = arena.make(CommonGrpcAccessLogConfig.self) { common in
                common.log_name = arena(side.rawValue)
                common.grpc_service = arena.make {
                    $0.set(
                        envoy_grpc: arena.make { $0.cluster_name = arena(AccessLogPlan.controlPlaneCluster) })
                }
                common.transport_api_version = .V3
                common.buffer_flush_interval = arena.seconds(1)
            }
            if isHTTP {
                let log = arena.make(HttpGrpcAccessLogConfig.self) { $0.common_config = common }
                logs.append(accessLog("envoy.access_loggers.http_grpc", log, plan.filter))
            } else {
                let log = arena.make(TcpGrpcAccessLogConfig.self) { $0.common_config = common }
                logs.append(accessLog("envoy.access_loggers.tcp_grpc", log, plan.filter))
            }
        }
        return logs
    }

    private func fileLog(
        _ path: String, _ format: ExtensionProvider.FileLog.Format?
    ) -> UnsafeMutablePointer<FileAccessLog> {
        arena.make { log in
            log.path = arena(path)
            guard let format else { return }
            log.set(
                log_format: arena.make { made in
                    switch format {
                    case .text(let text):
                        made.set(
                            text_format_source: arena.make {
                                $0.set(inline_string: arena(text.hasSuffix("\n") ? text : text + "\n"))
                            })
                    case .labels(let labels):
                        made.set(
                            json_format: arena.structure(
                                labels.sorted { $0.key < $1.key }.map { .init($0.key, .string($0.value)) }))
                    }
                })
        }
    }

    /// - Returns: nil for a provider that takes other logs, or whose service the proxy does not see.
    private func accessLog(
        _ provider: ExtensionProvider, _ filter: String?, for proxy: ProxyClass, isHTTP: Bool
    ) -> UnsafeMutablePointer<AccessLog>? {
        func common(_ log: ExtensionProvider.LogService, _ name: String) -> UnsafeMutablePointer<
            CommonGrpcAccessLogConfig
        >? {
            guard let found = cluster(of: log.place, for: proxy) else { return nil }
            return arena.make { common in
                common.log_name = arena(log.logName ?? name)
                common.grpc_service = arena.make {
                    $0.set(
                        envoy_grpc: arena.make {
                            $0.cluster_name = arena(found.cluster)
                            $0.authority = arena(found.host)
                        })
                }
                common.transport_api_version = .V3
            }
        }
        switch provider.work {
        case .fileLog(let log): return accessLog("envoy.access_loggers.file", fileLog(log.path, log.format), filter)
        case .httpLog(let log):
            guard isHTTP, let common = common(log, "http_envoy_accesslog") else { return nil }
            let made = arena.make(HttpGrpcAccessLogConfig.self) { made in
                made.common_config = common
                (made.n_additional_request_headers_to_log, made.additional_request_headers_to_log) =
                    arena.strings(log.requestHeaders)
                (made.n_additional_response_headers_to_log, made.additional_response_headers_to_log) =
                    arena.strings(log.responseHeaders)
                (made.n_additional_response_trailers_to_log, made.additional_response_trailers_to_log) =
                    arena.strings(log.responseTrailers)
            }
            return accessLog("envoy.access_loggers.http_grpc", made, filter)
        case .streamLog(let log):
            guard !isHTTP, let common = common(log, "tcp_envoy_accesslog") else { return nil }
            return accessLog(
                "envoy.access_loggers.tcp_grpc", arena.make(TcpGrpcAccessLogConfig.self) { $0.common_config = common },
                filter)
        case .authorization, .zipkin, .openTelemetry, .prometheus: return nil
        }
    }

    private func accessLog<M: ProtobufMessage>(
        _ name: String, _ log: UnsafeMutablePointer<M>, _ filter: String?
    ) -> UnsafeMutablePointer<AccessLog> {
        arena.make {
            $0.name = arena(name)
            $0.set(typed_config: arena.any(log))
            guard let filter else { return }
            // The filter's message has the expression as its first field, as a StringValue has its text.
            let expression = encode(arena.string(filter))
            $0.filter = arena.make {
                $0.set(
                    extension_filter: arena.make {
                        $0.name = arena("envoy.access_loggers.extension_filters.cel")
                        $0.set(typed_config: arena.any(typeURL: Self.filterType, arena.bytes(expression)))
                    })
            }
        }
    }
}
