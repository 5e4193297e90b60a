using System.Diagnostics;
using AttnCompose.Pipelines;
namespace AttnCompose.Cuda.Tests;
internal static class Probe
{
    public static int Run(string[] names)
    {
        foreach (string name in names)
        {
            PipelineDescriptor pipeline = ReadyPipelines.Find(name);
            var source = new KernelSource(name.Replace('-', '_'), pipeline.CudaSource, [typeof(ReadyPipelines).Assembly]);
            var options = new CompileOptions { Architecture = "sm_90a", HeadDim = 128, Element = ElementType.BFloat16, Output = ElementType.BFloat16, Forgets = KernelCompiler.Version >= new Version(12, 9) };
            foreach (int most in new[] { 0, 2, 8 })
            {
                var folder = System.IO.Directory.CreateTempSubdirectory();
                KernelCache Cache() => new(new CudaSettings { CacheDirectory = folder.FullName }, k => KernelCompiler.Compile(k.Source, k.Headers, k.Options), () => KernelCompiler.Identity);
                KernelCache cache = Cache();
                var workers = new KernelWorkers(Program.Command("attncompose-kernel-worker"), most);
                var clock = Stopwatch.StartNew();
                PreparedKernel[] programs = cache.PreparePrograms(source, options);
                double prepare = clock.Elapsed.TotalMilliseconds;
                int by = KernelBatch.Get(cache, programs, workers, (i, k, n) => Console.WriteLine($"    {clock.ElapsedMilliseconds,6} ms {k.Name}"), default);
                Console.WriteLine($"{name} workers {most}: {clock.ElapsedMilliseconds} ms, by workers {by}, prepare {prepare:0.0} ms");
                for (int r = 0; r < 5; r++)
                {
                    KernelCache again = Cache();
                    clock.Restart();
                    programs = again.PreparePrograms(source, options);
                    double p = clock.Elapsed.TotalMilliseconds;
                    KernelBatch.Get(again, programs, workers, (_, _, _) => { }, default);
                    Console.WriteLine($"    load {clock.Elapsed.TotalMilliseconds:0.00} ms, of which prepare {p:0.00}");
                }
                folder.Delete(true);
            }
            var w = Stopwatch.StartNew();
            KernelCompiler.Compile(source, options);
            Console.WriteLine($"{name} whole text here: {w.ElapsedMilliseconds} ms");
        }
        return 0;
    }
}
