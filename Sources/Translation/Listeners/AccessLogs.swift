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
        let config = mesh.config.accessLog
        var plan = AccessLogPlan(
            file: config.file, format: config.format, isSentToControlPlane: config.isSentToControlPlane)
        let file = config.file ?? "/dev/stdout"
        for entry in telemetry(for: proxy).flatMap(\.accessLogging) where side.isCovered(by: entry.side) {
            let isOn = entry.isDisabled != true
            if entry.providers.isEmpty {
                if !isOn {
                    (plan.file, plan.isSentToControlPlane) = (nil, false)
                } else if entry.isDisabled == false {
                    (plan.file, plan.isSentToControlPlane) = (config.file, config.isSentToControlPlane)
                }
            } else {
                if entry.providers.contains(AccessLogPlan.fileProvider) {
                    plan.file = isOn ? file : nil
                } else if isOn {
                    plan.file = nil
                }
                if entry.providers.contains(AccessLogPlan.controlPlaneProvider) { plan.isSentToControlPlane = isOn }
            }
            plan.filter = entry.filter ?? plan.filter
        }
        return plan
    }

    private static let filterType =
        "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"

    func accessLogs(for proxy: ProxyClass, _ side: TrafficSide, isHTTP: Bool) -> [UnsafeMutablePointer<AccessLog>] {
        accessLogs(accessLogPlan(for: proxy, side), side, isHTTP: isHTTP)
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
            let log = arena.make(FileAccessLog.self) { log in
                log.path = arena(file)
                guard let format = plan.format else { return }
                log.set(
                    log_format: arena.make {
                        $0.set(
                            text_format_source: arena.make {
                                $0.set(inline_string: arena(format.hasSuffix("\n") ? format : format + "\n"))
                            })
                    })
            }
            logs.append(accessLog("envoy.access_loggers.file", log, plan.filter))
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
