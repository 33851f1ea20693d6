extension Proxy {
    func answer(_ request: AdminRequest, _ reply: @escaping @Sendable (AdminResponse) -> Void) {
        reply(AdminResponse("not found\n", status: 404))
    }
}
