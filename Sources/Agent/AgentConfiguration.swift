import Certificates
import Glibc
import Identity
import Logging
import Reactor
import XDS

extension Agent {
    /// What an agent is for.
    public struct Configuration: Sendable {
        /// The control plane's TLS port.
        public var control: Reactor.SocketAddress
        /// The name in the control plane's certificate.
        public var serverName: String
        /// PEM: whom to believe about the control plane until it has pushed its trust bundle.
        public var rootCertificateFile: String
        /// The join token. Read again for each attempt that needs it.
        public var tokenFile: String?
        public var spiffeID: SPIFFEID
        /// `node.id`.
        public var nodeID: String
        /// nil leaves it to the authority.
        public var certificateLife: Duration?
        public var keyAlgorithm = KeyAlgorithm.ecdsaP256
        /// Where to serve the Workload API; nil: nowhere.
        public var socketPath: String?
        /// Everybody may connect: a selector says who is answered, and workloads have users of their own.
        public var socketMode: UInt32 = 0o666
        /// One of them must match.
        public var selectors = [CallerSelector(user: geteuid())]
        /// Where to keep key, chain and bundle as files; nil: nowhere.
        public var outputDirectory: String?
        /// For `/bin/sh -c`, after the files have changed.
        public var command: String?
        /// End when the files are written, or after so long without success; nil: go on until told to end.
        public var onceWithin: Duration?
        /// Whether signals of the process are for the agent.
        public var takesSignals = true
        /// For `user_agent` in the node.
        public var version: String
        public var logger = Logger(label: "martinet.agent")

        public init(
            control: Reactor.SocketAddress, serverName: String, rootCertificateFile: String, spiffeID: SPIFFEID,
            nodeID: String, version: String = ""
        ) {
            self.control = control
            self.serverName = serverName
            self.rootCertificateFile = rootCertificateFile
            self.spiffeID = spiffeID
            self.nodeID = nodeID
            self.version = version
        }
    }
}

extension Agent.Configuration {
    var terms: Enrolment.Terms {
        var terms = Enrolment.Terms(
            control: control, serverName: serverName, rootCertificateFile: rootCertificateFile, tokenFile: tokenFile,
            spiffeID: spiffeID, nodeID: nodeID)
        terms.keyAlgorithm = keyAlgorithm
        terms.certificateLife = certificateLife
        return terms
    }

    /// What the agent says of itself over xDS.
    var node: Node {
        var metadata: [String: MetadataValue] = [:]
        if let workload = spiffeID.workload {
            metadata = [
                "NAMESPACE": .string(workload.namespace), "SERVICE_ACCOUNT": .string(workload.serviceAccount),
            ]
        }
        return Node(id: nodeID, metadata: metadata, userAgent: "martinet-agent/\(version)")
    }
}
