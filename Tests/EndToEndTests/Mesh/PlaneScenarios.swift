import Foundation
import Testing

/// The scenarios of the book shop on `martinet proxy`, and on a mesh of it and Envoy: the same assertions.
@Suite(.serialized)
struct PlaneScenarios {
    private func on(_ plane: DataPlaneChoice, _ scenario: () throws -> Void) rethrows {
        try DataPlaneChoice.$current.withValue(plane) { try scenario() }
    }

    /// A mixed mesh has each kind of proxy on both ends. `make test-planes` goes through one of `martinet proxy` alone too.
    private static let planes: [DataPlaneChoice] =
        ProcessInfo.processInfo.environment["PLANES"] == "all" ? [.martinet, .mixed] : [.mixed]

    @Test(arguments: planes)
    func weightsAreWhatTheRouteSays(plane: DataPlaneChoice) throws {
        try on(plane) { try RoutingScenarios().weightsAreWhatTheRouteSays(files: .best) }
    }

    @Test(arguments: planes)
    func jasonAndOnlyJasonGetsTheBeta(plane: DataPlaneChoice) throws {
        try on(plane) { try RoutingScenarios().jasonAndOnlyJasonGetsTheBeta(files: .best) }
    }

    @Test(arguments: planes)
    func aCutOverUnderLoadFailsNoRequest(plane: DataPlaneChoice) throws {
        try on(plane) { try RoutingScenarios().aCutOverUnderLoadFailsNoRequest() }
    }

    @Test(arguments: planes)
    func aWorkloadThatComesTakesPartAndOneThatGoesIsForgotten(plane: DataPlaneChoice) throws {
        try on(plane) { try RoutingScenarios().aWorkloadThatComesTakesPartAndOneThatGoesIsForgotten() }
    }

    @Test(arguments: planes)
    func delaysAndAbortsHitJasonAlone(plane: DataPlaneChoice) throws {
        try on(plane) { try FaultScenarios().delaysAndAbortsHitJasonAlone(files: .best) }
    }

    @Test(arguments: planes)
    func aFailingVersionIsEjectedAndTakenBackByItself(plane: DataPlaneChoice) throws {
        try on(plane) { try FaultScenarios().aFailingVersionIsEjectedAndTakenBackByItself() }
    }

    @Test(arguments: planes)
    func sessionsStickByCookieAndByHeader(plane: DataPlaneChoice) throws {
        try on(plane) { try FaultScenarios().sessionsStickByCookieAndByHeader() }
    }

    @Test(arguments: planes)
    func retriesHideAFailureAndTimeoutsEndAWait(plane: DataPlaneChoice) throws {
        try on(plane) { try FaultScenarios().retriesHideAFailureAndTimeoutsEndAWait() }
    }

    @Test(arguments: planes)
    func strictRefusesPlaintextAndPermissiveTakesBoth(plane: DataPlaneChoice) throws {
        try on(plane) { try TrustScenarios().strictRefusesPlaintextAndPermissiveTakesBoth() }
    }

    @Test(arguments: planes)
    func aRogueIsRefusedOnBothEnds(plane: DataPlaneChoice) throws {
        try on(plane) { try TrustScenarios().aRogueIsRefusedOnBothEnds() }
    }

    @Test(arguments: planes)
    func aPolicySaysWhoMayCallWhat(plane: DataPlaneChoice) throws {
        try on(plane) { try TrustScenarios().aPolicySaysWhoMayCallWhat() }
    }

    @Test(arguments: planes)
    func theGatewayLeadsIntoTheShopAndNowhereElse(plane: DataPlaneChoice) throws {
        try on(plane) { try BorderScenarios().theGatewayLeadsIntoTheShopAndNowhereElse(files: .best) }
    }

    @Test(arguments: planes)
    func theSameThroughTheGatewayAPI(plane: DataPlaneChoice) throws {
        try on(plane) { try BorderScenarios().theSameThroughTheGatewayAPI(files: .best) }
    }

    @Test(arguments: planes)
    func connectionsOfTCPAreSplitAtTheGateway(plane: DataPlaneChoice) throws {
        try on(plane) { try BorderScenarios().connectionsOfTCPAreSplitAtTheGateway(files: .best) }
    }

    @Test(arguments: planes)
    func helloAndHTTPBinStandBehindOneGateway(plane: DataPlaneChoice) throws {
        try on(plane) { try BorderScenarios().helloAndHTTPBinStandBehindOneGateway(files: .best) }
    }

    @Test(arguments: planes)
    func theGatewayShowsTheCertificateOfASecret(plane: DataPlaneChoice) throws {
        try on(plane) { try BorderScenarios().theGatewayShowsTheCertificateOfASecret() }
    }

    @Test(arguments: planes)
    func theWayOutIsClosedButForAServiceEntry(plane: DataPlaneChoice) throws {
        try on(plane) { try BorderScenarios().theWayOutIsClosedButForAServiceEntry() }
    }

    @Test(arguments: planes)
    func everyWorkloadHasAnApplicationAndAProxyOnAddressesOfItsOwn(plane: DataPlaneChoice) throws {
        try on(plane) { try HarnessTests().everyWorkloadHasAnApplicationAndAnEnvoyOnAddressesOfItsOwn() }
    }

    @Test(
        .enabled(if: InterceptedMesh.isPossible, "network namespaces want root and iptables"),
        arguments: planes)
    func theShopRunsBehindTheBacksOfItsApplications(plane: DataPlaneChoice) throws {
        try on(plane) { try InterceptionScenarios().theShopRunsBehindTheBacksOfItsApplications() }
    }

    @Test(
        .enabled(if: InterceptedMesh.isPossible, "network namespaces want root and iptables"),
        arguments: planes)
    func everyConnectionOfAWorkloadInANamespaceIsLedThroughItsProxy(plane: DataPlaneChoice) throws {
        try on(plane) { try HarnessTests().everyConnectionOfAWorkloadInANamespaceIsLedThroughItsEnvoy() }
    }
}
