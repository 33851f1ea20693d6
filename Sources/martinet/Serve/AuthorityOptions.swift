import ArgumentParser
import ControlPlane
import Identity

/// How `martinet serve` sets up its certificate authority.
struct AuthorityOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The name of the mesh in identities: spiffe://DOMAIN/ns/…", valueName: "domain"))
    var trustDomain = "cluster.local"

    @Option(help: ArgumentHelp("How long workload certificates are valid: 10s to 90d.", valueName: "duration"))
    var caLeafTtl = DurationArgument(.days(1))

    @Option(help: ArgumentHelp("How long an intermediate is valid.", valueName: "duration"))
    var caIntermediateTtl = DurationArgument(.days(365))

    @Option(help: ArgumentHelp("How long a root is valid.", valueName: "duration"))
    var caRootTtl = DurationArgument(.days(3650))

    @Option(
        help: ArgumentHelp(
            "File whose first line encrypts the authority's keys on disk. (default: they are files of mode 0600)",
            valueName: "file"))
    var caPassphraseFile: String?

    @Option(
        help: ArgumentHelp(
            "How long a step of a rotation waits for proxies that are away, before it goes on without them. "
                + "(default: an operator decides)", valueName: "duration"))
    var caForceAfter: DurationArgument?

    @Option(
        name: .customLong("tls-name"),
        help: ArgumentHelp(
            "A DNS name of this server, for the certificate of the TLS port; repeatable. It has localhost, the "
                + "machine's name, martinet and martinet.martinet-system.svc anyway.", valueName: "name"))
    var tlsNames: [String] = []

    @Option(
        help: ArgumentHelp(
            "Another trust domain whose bundle proxies get, and where it is: a file or an https address; repeatable.",
            valueName: "domain=place"))
    var federate: [String] = []

    @Option(
        help: ArgumentHelp(
            "PEM file of those who vouch for the https servers of --federate.", valueName: "file"))
    var federateCa = "/etc/ssl/certs/ca-certificates.crt"

    func validate() throws { _ = try configuration() }

    /// - Throws: what is wrong with the options.
    func configuration() throws -> AuthorityConfiguration {
        var policy = AuthorityPolicy()
        policy.leafValidity = caLeafTtl.duration
        policy.intermediateValidity = caIntermediateTtl.duration
        policy.rootValidity = caRootTtl.duration
        policy.forceAfter = caForceAfter?.duration
        policy.handshakeAllowance = .seconds(1)
        do throws(PolicyError) {
            try policy.validate()
        } catch {
            throw ValidationError("\(error); \(error.hint)")
        }
        let domain: TrustDomain
        do throws(SPIFFEIDError) {
            domain = try TrustDomain(trustDomain)
        } catch {
            throw ValidationError("--trust-domain: \(error); \(error.hint)")
        }
        var configuration = AuthorityConfiguration(trustDomain: domain, policy: policy)
        configuration.passphraseFile = caPassphraseFile
        configuration.serverNames = tlsNames.map { $0.lowercased() }
        configuration.webAnchorsFile = federateCa
        configuration.federation = try sources()
        return configuration
    }

    private func sources() throws -> [FederationSource] {
        do throws(StartProblem) {
            var sources: [FederationSource] = []
            for text in federate { sources.append(try FederationSource(parsing: text)) }
            return sources
        } catch {
            throw ValidationError("--federate: \(error); \(error.hint)")
        }
    }
}
